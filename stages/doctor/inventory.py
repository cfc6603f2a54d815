"""Checks everything that params.yaml names, in the order it is made. Changes nothing; the machine is checked in run.py."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.common.errors import UserError, one_line
from pipeline.inference import onnx_file
from pipeline.networks.published import TEACHER_CHECKPOINTS
from pipeline.pose.spec import NetworkSpec
from stages.fetch.catalogue import DATASETS
from stages.project.datasets import (
    TAUGHT_SPLITS,
    TRAIN,
    AnnotationFile,
    DatasetSettings,
    load_people,
    load_views,
    table_path,
)
from stages.project.linked_folders import refuse_links_out_of_git
from stages.project.project import Project
from stages.project.students import STUDENTS
from stages.project.teachers import teach_command
from stages.sample import SampleSettings
from stages.stores.crop_views import CropView, crop_views_of_students
from stages.stores.crops import open_crop_store
from stages.stores.targets import open_target_store, store_location
from stages.students.settings import settings_of

TABLES: tuple[Literal["people", "views", "pictures"], ...] = ("people", "views", "pictures")


@dataclass(frozen=True)
class InventoryEntry:
    """One thing that params.yaml names."""

    name: str
    state: str
    """What exists; for a gap what is missing, and the next command."""
    complete: bool
    """False for a gap."""


def inventory(project: Project) -> list[InventoryEntry]:
    """Check datasets, teachers and students. The first gap is the first to close. An error in one of them is a gap, and not raised."""
    datasets: dict[str, DatasetSettings] = {}
    entries = _listed("folders", refuse_links_out_of_git)
    entries += _listed("datasets", lambda: datasets.update(project.datasets))
    if project.values.get("skeletons"):
        entries.append(_entry("unified skeleton", functools.partial(_unified, project)))
    for name, dataset in datasets.items():
        entries.append(_entry(f"dataset {name}", functools.partial(_files, project, name, dataset)))
        entries.append(_entry(f"dataset {name}, prepared", functools.partial(_tables, name, dataset)))
    teachers: list[str] = []
    entries += _listed("teachers", lambda: teachers.extend(project.teacher_names))
    for name in teachers:
        error = _listed(f"teacher {name}", functools.partial(project.teacher, name))
        entries += error or _of_teacher(project, name, datasets)
    crop_views: dict[str, list[CropView]] = {}
    # An error here is one of a student's settings, which is reported below.
    _listed("crops", lambda: crop_views.update(crop_views_of_students(project)))
    entries += [
        _entry(f"crops of {name}", functools.partial(_crops, project, name, views))
        for name, views in crop_views.items()
    ]
    students: list[str] = []
    entries += _listed("students", lambda: students.extend(project.students))
    entries += [_entry(f"student {name}", functools.partial(_student, project, name)) for name in students]
    return entries


def _entry(name: str, check: Callable[[], str]) -> InventoryEntry:
    """Return what `check` returns, or the error that it raises for a gap."""
    try:
        return InventoryEntry(name, check(), True)
    except UserError as error:
        return InventoryEntry(name, str(error), False)
    except Exception as error:  # a damaged file is one line of the report, whatever its reader raises
        return InventoryEntry(name, f"{type(error).__name__}: {one_line(error)}", False)


def _listed(name: str, parse: Callable[[], object]) -> list[InventoryEntry]:
    """Return the error of a section that cannot be parsed, else nothing."""
    entry = _entry(name, lambda: str(parse()))
    return [] if entry.complete else [entry]


def _of_teacher(project: Project, name: str, datasets: dict[str, DatasetSettings]) -> list[InventoryEntry]:
    entries = [_entry(f"teacher {name}", functools.partial(_teacher_file, project, name, datasets))]
    stores = [(dataset, split) for dataset, values in datasets.items() if values.train for split in TAUGHT_SPLITS]
    if stores:
        entries.append(_entry(f"teacher {name}, stores", functools.partial(_stores, project, name, stores)))
    return entries


def _unified(project: Project) -> str:
    """Return how the datasets make up the student's skeleton, where a keypoint that lacks its alias shows as one more."""
    parts, seen = list[str](), set[str]()
    for name, dataset in project.trained_datasets.items():
        if dataset.labels_train:
            added = [k for k in dataset.skeleton.keypoints if k not in seen]
            parts.append(f"{name} adds {', '.join(added) or 'nothing'}" if parts else f"{len(added)} of {name}")
            seen.update(added)
    return f"{len(project.skeleton)} keypoints" + (f": {'; '.join(parts)}" if parts else "")


def _files(project: Project, name: str, dataset: DatasetSettings) -> str:
    """Check a dataset's annotation files and image folders."""
    parts = [part for part in (dataset.train, dataset.test) if part]
    files = [path for part in parts if part.share is None for path in _annotations(dataset, part)]
    folders = list(dict.fromkeys(Path(part.images) for part in parts))
    missing = [path for path in files if not path.is_file()]
    missing += [path for path in folders if not path.is_dir() or not any(path.iterdir())]
    if not missing:
        return f"{_count(len(files), 'annotation file')}, {_count(len(folders), 'image folder')}"
    sample = Path(project.section("sample", SampleSettings).folder)
    if missing[0].is_relative_to(sample):
        remedy = "run `pipeline data sample`"
    elif name in {dataset.name for dataset in DATASETS}:
        remedy = f"run `pipeline data fetch {name}`, or correct datasets.{name} in params.yaml"
    else:
        remedy = f"put it there, or correct datasets.{name} in params.yaml"
    raise UserError(f"{_missing(missing)}: {remedy}")


def _annotations(dataset: DatasetSettings, part: AnnotationFile) -> list[Path]:
    named = [Path(dataset.annotations) / file for file in (part.file, part.truth, part.detections) if file]
    return [*named, *([Path(part.only)] if part.only else [])]


def _tables(name: str, dataset: DatasetSettings) -> str:
    """Check the tables that `prepare` writes for a dataset."""
    tables = [table_path(name, split, table) for split in dataset.splits for table in TABLES]
    missing = [path for path in tables if not path.is_file()]
    if missing or not tables:
        raise UserError(f"{_missing(missing) if missing else 'no part'}: run `pipeline prepare --dataset {name}`")
    return _count(len(tables), "table")


def _teacher_file(project: Project, name: str, datasets: dict[str, DatasetSettings]) -> str:
    """Check that a teacher's ONNX file exists and can be read, and that params.yaml has its dataset."""
    teacher = project.teacher(name)
    if datasets:  # otherwise the datasets have a gap of their own
        project.dataset(teacher.dataset)
    if teacher.onnx.is_file():
        size = teacher.onnx.stat().st_size
        if not size:  # protobuf parses an empty file without an error
            raise UserError(f"{teacher.onnx} is empty: put the file there again")
        onnx_file.onnx_digest(teacher.onnx)
        return f"{teacher.onnx}, {size / 1e6:.1f} MB"
    if name in project.fitted_teachers:
        raise UserError(f"{teacher.onnx} is missing: run `pipeline fit --teacher {name}`")
    raise UserError(f"{teacher.onnx} is missing: put the file there, or {_published(teacher.spec)}")


def _published(spec: NetworkSpec) -> str:
    """Return the command that fetches a published checkpoint for such a spec, or the command that lists them."""
    fitting = [
        checkpoint.name
        for checkpoint in TEACHER_CHECKPOINTS
        if (checkpoint.skeleton, checkpoint.kind) == (spec.skeleton.name, spec.kind)
        and checkpoint.input == (spec.input_wh[1], spec.input_wh[0])
    ]
    if not fitting:
        return "run `pipeline teacher fetch` for the list of published ones"
    others = f" (or {', '.join(fitting[1:])})" if len(fitting) > 1 else ""
    return f"run `pipeline teacher fetch {fitting[0]}`{others} and then the import that it prints"


def _stores(project: Project, teacher: str, stores: list[tuple[str, str]]) -> str:
    """Check that the stores of a teacher are complete, and made from its present file, spec and people."""
    errors, complete = [], 0
    for dataset, split in stores:
        try:
            complete += _store(project, teacher, dataset, split)
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError(f"{complete} of {complete + len(errors)} complete: {errors[0]}")
    return f"{_count(complete, 'store')} complete"


def _store(project: Project, teacher: str, dataset: str, split: str) -> int:
    """Return 1 where the store is complete, 0 where there are no people to store; UserError otherwise."""
    path = store_location(project, teacher, dataset, split)
    if isinstance(path, Path) and not path.is_dir() and not table_path(dataset, split, "people").is_file():
        raise UserError(f"{path}: no such target store: run `{teach_command(teacher)}`")
    people = load_people(dataset, split)
    if not len(people):
        return 0
    open_target_store(project, teacher, dataset, split, people, load_views(dataset, split, people))
    return 1


def _crops(project: Project, name: str, crop_views: list[CropView]) -> str:
    """Check that the crops of a dataset serve every student."""
    people = load_people(name, TRAIN)
    views = load_views(name, TRAIN, people)
    for view in crop_views:
        store = open_crop_store(project, name, people, views, view)
    return str(store.path)


def _student(project: Project, name: str) -> str:
    """Check that a student's settings can be read and that it is trained."""
    settings_of(project, name, project.students[name])
    folder = STUDENTS / name
    if not (folder / "student.safetensors").is_file():
        raise UserError(f"{folder} is missing: run `pipeline distill --student {name}`")
    return str(folder)


def _missing(paths: list[Path]) -> str:
    """Name the first missing path or empty folder, and how many more there are."""
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{paths[0]} is missing or empty{more}" if paths[0].is_dir() else f"{paths[0]} is missing{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
