"""What params.yaml names, in the order it is made: there, or the next command. Looks, changes nothing; the machine is in doctor.py."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError, one_line
from pipeline.spec import NetworkSpec
from pipeline.teachers import onnx_file
from stages import crops
from stages.crops import Look
from stages.datasets import (
    TAUGHT,
    TRAIN,
    DatasetSettings,
    Part,
    dataset_settings,
    load_people,
    load_views,
    named,
    table_path,
)
from stages.fetching.catalogue import CHECKPOINTS, DATASETS
from stages.params import parse, settings
from stages.sample import SampleSettings
from stages.stores import open_store, store_place
from stages.student_settings import settings_of
from stages.students import STUDENTS, arms
from stages.teachers import listed_teachers, teach_command, teacher_settings
from stages.training_settings import TrainingSettings

TABLES: tuple[Literal["people", "views", "pictures"], ...] = ("people", "views", "pictures")


@dataclass(frozen=True)
class Entry:
    """One thing that params.yaml names."""

    what: str
    found: str
    """What is there; of a gap, what is not, and the next command."""
    there: bool


def inventory(params: dict[str, Any]) -> list[Entry]:
    """Datasets, teachers and students: the first gap is the first to close. Raises nothing for what is wrong with one of them."""
    datasets: dict[str, DatasetSettings] = {}
    entries = _listed("datasets", lambda: datasets.update(dataset_settings(params)))
    for name, dataset in datasets.items():
        entries.append(_entry(f"dataset {name}", functools.partial(_files, params, name, dataset)))
        entries.append(_entry(f"dataset {name}, prepared", functools.partial(_tables, name, dataset)))
    teachers: list[str] = []
    entries += _listed("teachers", lambda: teachers.extend(listed_teachers(params)))
    for name in teachers:
        wrong = _listed(f"teacher {name}", functools.partial(teacher_settings, params, name))
        entries += wrong or _of_teacher(params, name, datasets)
    looks: dict[str, list[Look]] = {}
    _listed("crops", lambda: looks.update(crops.looks(params)))  # what is wrong with students is said below
    entries += [
        _entry(f"crops of {name}", functools.partial(_crops, params, name, of_it)) for name, of_it in looks.items()
    ]
    students: list[str] = []
    entries += _listed("students", lambda: students.extend(arms(params)))
    entries += [_entry(f"student {name}", functools.partial(_student, params, name)) for name in students]
    return entries


def _entry(what: str, look: Callable[[], str]) -> Entry:
    """What `look` finds, or the error that it raises for a gap."""
    try:
        return Entry(what, look(), True)
    except UserError as error:
        return Entry(what, str(error), False)
    except Exception as error:  # a damaged file is one line of the report, whatever its reader makes of it
        return Entry(what, f"{type(error).__name__}: {one_line(error)}", False)


def _listed(what: str, parse: Callable[[], object]) -> list[Entry]:
    """Nothing where a section can be parsed, else its error."""
    entry = _entry(what, lambda: str(parse()))
    return [] if entry.there else [entry]


def _of_teacher(params: dict[str, Any], name: str, datasets: dict[str, DatasetSettings]) -> list[Entry]:
    entries = [_entry(f"teacher {name}", functools.partial(_teacher_file, params, name, datasets))]
    stores = [(dataset, split) for dataset, values in datasets.items() if values.train for split in TAUGHT]
    if stores:
        entries.append(_entry(f"teacher {name}, stores", functools.partial(_stores, params, name, stores)))
    return entries


def _files(params: dict[str, Any], name: str, dataset: DatasetSettings) -> str:
    """A dataset's annotation files and picture folders."""
    parts = [part for part in (dataset.train, dataset.test) if part]
    files = [path for part in parts for path in _annotations(dataset, part)]
    folders = list(dict.fromkeys(Path(part.images) for part in parts))
    missing = [path for path in files if not path.is_file()]
    missing += [path for path in folders if not path.is_dir() or not any(path.iterdir())]
    if not missing:
        return f"{_count(len(files), 'annotation file')}, {_count(len(folders), 'picture folder')}"
    sample = Path(settings(params, "sample", SampleSettings).folder)
    if missing[0].is_relative_to(sample):
        remedy = "run `pipeline data sample`"
    elif name in {dataset.name for dataset in DATASETS}:
        remedy = f"run `pipeline data fetch {name}`, or mend datasets.{name} in params.yaml"
    else:
        remedy = f"put it there, or mend datasets.{name} in params.yaml"
    raise UserError(f"{_missing(missing)}: {remedy}")


def _annotations(dataset: DatasetSettings, part: Part) -> list[Path]:
    return [Path(dataset.annotations) / file for file in (part.file, part.truth, part.detections) if file]


def _tables(name: str, dataset: DatasetSettings) -> str:
    """What `prepare` makes of a dataset."""
    tables = [table_path(name, split, what) for split in dataset.splits for what in TABLES]
    missing = [path for path in tables if not path.is_file()]
    if missing or not tables:
        raise UserError(f"{_missing(missing) if missing else 'no part'}: run `pipeline prepare --dataset {name}`")
    return _count(len(tables), "table")


def _teacher_file(params: dict[str, Any], name: str, datasets: dict[str, DatasetSettings]) -> str:
    """A teacher's ONNX file: there, whole, and judged by a dataset that there is."""
    teacher = teacher_settings(params, name)
    if datasets:  # else they have a gap of their own
        named(datasets, teacher.dataset)
    if teacher.onnx.is_file():
        size = teacher.onnx.stat().st_size
        if not size:  # to protobuf, nothing at all is a message too
            raise UserError(f"{teacher.onnx} is empty: put the file there again")
        onnx_file.digest(teacher.onnx)
        return f"{teacher.onnx}, {size / 1e6:.1f} MB"
    fit = params.get("fit")
    fitted = fit.get("teachers") if isinstance(fit, dict) else None
    if isinstance(fitted, list) and name in fitted:
        raise UserError(f"{teacher.onnx} is missing: run `pipeline fit --teacher {name}`")
    raise UserError(f"{teacher.onnx} is missing: put the file there, or {_published(teacher.spec)}")


def _published(spec: NetworkSpec) -> str:
    """The command that brings what the catalogue has for such a spec, or else the list of what it has."""
    fitting = [
        checkpoint.name
        for checkpoint in CHECKPOINTS
        if (checkpoint.skeleton, checkpoint.kind) == (spec.skeleton.name, spec.kind)
        and checkpoint.input == (spec.input_wh[1], spec.input_wh[0])
    ]
    if not fitting:
        return "run `pipeline teacher fetch` for the list of published ones"
    others = f" (or {', '.join(fitting[1:])})" if len(fitting) > 1 else ""
    return f"run `pipeline teacher fetch {fitting[0]}`{others} and then the import that it prints"


def _stores(params: dict[str, Any], teacher: str, stores: list[tuple[str, str]]) -> str:
    """The stores of a teacher: complete, and of today's file, spec and people."""
    troubles, complete = [], 0
    for dataset, split in stores:
        try:
            complete += _store(params, teacher, dataset, split)
        except UserError as error:
            troubles.append(str(error))
    if troubles:
        raise UserError(f"{complete} of {complete + len(troubles)} complete: {troubles[0]}")
    return f"{_count(complete, 'store')} complete"


def _store(params: dict[str, Any], teacher: str, dataset: str, split: str) -> int:
    """1 where the store is complete, 0 where there are no people to store; UserError where it is neither."""
    path = store_place(params, teacher, dataset, split)
    if isinstance(path, Path) and not path.is_dir() and not table_path(dataset, split, "people").is_file():
        raise UserError(f"{path}: no such target store: run `{teach_command(teacher)}`")
    people = load_people(dataset, split)
    if not len(people):
        return 0
    open_store(params, teacher, dataset, split, people, load_views(dataset, split, people))
    return 1


def _crops(params: dict[str, Any], name: str, looks: list[Look]) -> str:
    """The crops of a dataset, made for every student."""
    people = load_people(name, TRAIN)
    views = load_views(name, TRAIN, people)
    for look in looks:
        store = crops.opened(params, name, people, views, look)
    return str(store.path)


def _student(params: dict[str, Any], name: str) -> str:
    """A trained student, and settings that can be read."""
    chosen = settings_of(params, name, arms(params)[name])
    parse(chosen.training, "distill.training", TrainingSettings)
    place = STUDENTS / name
    if not (place / "student.safetensors").is_file():
        raise UserError(f"{place} is missing: run `pipeline distill --student {name}`")
    return str(place)


def _missing(paths: list[Path]) -> str:
    """The first, and how many more; an empty picture folder counts."""
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{paths[0]} is missing or empty{more}" if paths[0].is_dir() else f"{paths[0]} is missing{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
