"""Stage one, `teach`: a teacher looks once at every person of every dataset, in every view, and its targets go into stores."""

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, MultipleOf

from cache.lock import exclusive
from cache.manifest import read_manifest as read_store_manifest
from cache.place import Where, place_of
from cache.remote import Remote
from cache.targets import SMALLEST_CHUNK, TargetLayout, compressed_bytes, open_targets
from cache.writer import finish, open_for_writing
from pipeline.errors import UserError, one_line
from pipeline.people.manifest import Manifest, read_manifest
from pipeline.people.people import People
from pipeline.scores.poses import Poses
from pipeline.teachers.readings import other_readings
from pipeline.teachers.session import Device, Teacher, open_teacher
from pipeline.views import Views
from stages.check import PEOPLE, examine
from stages.datasets import TAUGHT, DatasetSettings, dataset_settings, load_people, load_views, named, table_path
from stages.decoded import decoded_poses
from stages.evaluation.scores import accuracy
from stages.params import remote_targets, settings
from stages.pointers import pointer_path, write_pointer
from stages.progress import progress
from stages.stores import shown_to, store_place
from stages.teachers import TARGETS, TeacherSettings, store_path, teach_command, teacher_settings
from stages.teaching.stream import blocks, written
from stages.teaching.units import Unit, unit_of
from stages.threads import cores, threads

TRIAL_PEOPLE = 16


@dataclass(frozen=True)
class TeachSettings:
    boundary: Annotated[int, Ge(SMALLEST_CHUNK), Le(4096), MultipleOf(SMALLEST_CHUNK)] = 128
    """People that are written, and resumed, as one."""
    check: Annotated[int, Ge(0)] = PEOPLE
    """People of its own dataset on whom a teacher is scored before it starts; 0 for none."""


@dataclass(frozen=True)
class Work:
    """One store to be written."""

    dataset: str
    split: str
    images: Path
    people: People
    views: Views
    manifest: Manifest
    layout: TargetLayout
    path: Where


@dataclass(frozen=True)
class Crew:
    """Who looks at people and writes."""

    provider: str
    """What the teacher runs on there."""
    written: Callable[[Iterable[Unit]], Generator[int]]
    """Has units written, and says of each how many people were looked at."""


def run(
    params: dict[str, Any],
    teacher: str,
    device: Device = "auto",
    batch: int = 64,
    dry_run: bool = False,
    check: bool = True,
    say: Callable[[str], None] = print,
    scheduler: str | None = None,
) -> None:
    """Write or complete the stores of one teacher over the training and validation people of all datasets.

    Before anything is written the teacher is scored on some people of its own dataset, unless `check` is off; UserError on nonsense.
    `scheduler`: address of a `dask.distributed` cluster that does the work; `device` is then the workers', and this process,
    which looks at the teacher, scores it and holds the stores' lock, takes what it has.
    """
    wanted = teacher_settings(params, teacher)
    datasets = dataset_settings(params)
    named(datasets, wanted.dataset)
    chosen = settings(params, "teach", TeachSettings)
    own = "auto" if scheduler else device
    opened = open_teacher(teacher, wanted.onnx, wanted.spec, own, precision=wanted.precision)
    parts = [(name, dataset, split) for name, dataset in datasets.items() if dataset.train for split in TAUGHT]
    works = [work for work in (_work(params, opened, *part, chosen) for part in parts) if len(work.people)]
    if not works:
        raise UserError("params.yaml: datasets: expected one with a `train` part to teach on, found none")
    say(f"teacher {teacher}: {wanted.onnx} on {opened.opened.note}")
    if dry_run:
        _estimate(opened, works, batch, remote_targets(params), say)
        return
    with _crew(opened, wanted, device, batch, scheduler, say) as crew:
        judged = datasets[wanted.dataset].labelled
        if not judged:
            say(f"teacher {teacher}: not scored, since {wanted.dataset} has boxes only")
        if judged and check and chosen.check and not all(_written(opened, crew, work) for work in works):
            decisive = [reading for reading in other_readings(wanted.spec) if reading.decisive]
            found = examine(params, wanted, opened, decisive, chosen.check, batch)
            say(f"teacher {teacher}: {found.score} {found.value:.1f} on {found.people} people of {wanted.dataset}")
            if found.trouble:
                anyway = "`--no-check`, or teach.check: 0 in params.yaml, teaches all the same"
                raise UserError(f"teacher {teacher}: {found.trouble}; {anyway}")
        looked = 0
        with exclusive(TARGETS / teacher):
            for work in works:
                looked += _write(opened, crew, work, say)
    _summary(wanted, datasets, works, looked, say)


@contextlib.contextmanager
def _crew(
    teacher: Teacher,
    wanted: TeacherSettings,
    device: Device,
    batch: int,
    scheduler: str | None,
    say: Callable[[str], None],
) -> Iterator[Crew]:
    """This process, or the workers of a cluster."""
    if scheduler is None:
        yield Crew(teacher.opened.provider, lambda units: written(teacher, units, batch, cores()))
        return
    try:
        from stages.teaching import cluster
    except ImportError as error:
        raise UserError(
            f"--scheduler: {one_line(error)}: install what it takes with `pip install 'pose-fusion[cluster]'`"
        ) from error
    asked = cluster.Wanted(teacher.name, wanted.onnx.absolute(), wanted.spec, wanted.precision, device, teacher.sha256)
    with cluster.connected(scheduler) as client:
        provider = cluster.provider_of(client, asked)
        say(f"teacher {teacher.name}: {len(client.nthreads())} workers of {scheduler} on {provider}")
        yield Crew(provider, lambda units: cluster.written_by(client, asked, provider, units, batch))


def _work(
    params: dict[str, Any], teacher: Teacher, name: str, dataset: DatasetSettings, split: str, chosen: TeachSettings
) -> Work:
    people = load_people(name, split)
    views = load_views(name, split, people)
    layout = TargetLayout(
        len(people),
        len(views),
        len(teacher.spec.skeleton),
        teacher.target_wh[1],
        teacher.target_wh[0],
        chosen.boundary,
        separate=teacher.spec.kind == "simcc",
    )
    manifest = read_manifest(table_path(name, split, "pictures"))
    path = store_place(params, teacher.name, name, split)
    return Work(name, split, dataset.images(split), people, views, manifest, layout, path)


def _fingerprint(teacher: Teacher, crew: Crew, work: Work) -> dict[str, Any]:
    run_of = {"teacher": teacher.sha256, "provider": crew.provider, "precision": teacher.precision}
    return work.layout.fingerprint(run_of | shown_to(teacher.spec, work.people, work.views, work.manifest))


def _written(teacher: Teacher, crew: Crew, work: Work) -> bool:
    """Has this very teacher finished the store, whatever happened to it since?"""
    manifest = read_store_manifest(work.path)
    return manifest is not None and manifest["fingerprint"] == _fingerprint(teacher, crew, work)


def _write(teacher: Teacher, crew: Crew, work: Work, say: Callable[[str], None]) -> int:
    """Write what is pending of one store; the number of people looked at."""
    fingerprint = _fingerprint(teacher, crew, work)
    plan = open_for_writing(work.path, work.layout, fingerprint)
    if plan.reason:
        say(f"{work.path}: {plan.reason}")
    looked = 0
    total = sum(int(work.people.use[work.layout.rows(b)].sum()) for b in plan.pending)
    units = (_unit(work, boundary) for boundary in plan.pending)
    with (
        progress(total, f"{teacher.name} on {work.dataset} {work.split}", "people") as bar,
        contextlib.closing(crew.written(units)) as counts,
    ):
        for count in counts:
            looked += count
            bar.update(count)
    if plan.pending or plan.reason != "complete":
        finish(work.path, work.layout, fingerprint)
    _point(teacher.name, work, say)
    return looked


def _point(teacher: str, work: Work, say: Callable[[str], None]) -> None:
    """Leave where the store would lie on disk what says where it is, if it is not there."""
    local = store_path(teacher, work.dataset, work.split)
    if not isinstance(work.path, Remote):
        pointer_path(local).unlink(missing_ok=True)  # of an earlier run
        return
    write_pointer(pointer_path(local), work.path)
    if local.exists():
        say(
            f"{local}: nobody reads it any more, since params.yaml names {work.path} instead: delete it, and run `dvc commit` "
            "after that, or DVC trains the students again"
        )


def _unit(work: Work, boundary: int) -> Unit:
    return unit_of(work.dataset, work.path, work.layout, boundary, work.images, work.people, work.views)


def stored_poses(wanted: TeacherSettings, dataset: str, split: str, people: People, path: Where | None = None) -> Poses:
    """The teacher's poses of the people in use, decoded from view 0 of its store; without a `path`, of that on disk."""
    path = path or store_path(wanted.name, dataset, split)
    store = open_targets(path, teach_command(wanted.name), people.person)
    return decoded_poses(store, wanted.spec, people)


def _summary(
    wanted: TeacherSettings,
    datasets: dict[str, DatasetSettings],
    works: list[Work],
    written: int,
    say: Callable[[str], None],
) -> None:
    people = sum(int(work.people.use.sum()) for work in works)
    views = works[0].layout.views
    size = sum(sum(place_of(work.path).sizes().values()) for work in works)
    own = datasets[wanted.dataset]
    scores = []
    for work in works:
        if work.dataset == wanted.dataset and own.labelled:
            poses = stored_poses(wanted, work.dataset, work.split, work.people, work.path)
            name, value = accuracy(own, work.people, poses)
            scores.append(f"{name} {value:.1f} on {work.dataset} {work.split}")
    say(
        f"teacher {wanted.name}: {people} people x {views} views, {written} looked at now, "
        f"{', '.join([f'{size / max(people * views, 1) / 1000:.2f} kB per person and view', *scores])}"
    )


def _estimate(teacher: Teacher, works: list[Work], batch: int, remote: str | None, say: Callable[[str], None]) -> None:
    """Crops, hours and gigabytes of a run, from a few people of the first store; UserError where the disk is too small."""
    first = works[0]
    some = np.flatnonzero(first.people.use)[:TRIAL_PEOPLE]
    if not len(some):
        raise UserError(f"{first.dataset} {first.split}: expected people in use, found none: run `pipeline prepare`")
    unit = unit_of(first.dataset, first.path, first.layout, 0, first.images, first.people, first.views, some)
    with threads(cores()) as pool:
        (_,) = blocks(teacher, [unit], batch, pool)
        start = time.perf_counter()
        ((_, block),) = blocks(teacher, [unit], batch, pool)
    crops = len(some) * len(first.views)
    seconds = (time.perf_counter() - start) / crops
    total = sum(int(work.people.use.sum()) * work.layout.views for work in works)
    size = total * compressed_bytes(block.levels) / crops
    where = TARGETS / teacher.name
    free = shutil.disk_usage(next(folder for folder in (where, *where.parents) if folder.exists())).free
    say(
        f"teacher {teacher.name}: {total} crops, about {total * seconds / 3600:.2f} hours on {teacher.opened.provider} "
        f"({1 / seconds:.0f} crops a second, reading included), about {size / 1e9:.3f} GB"
        + (f" to {remote}" if remote else f"; {free / 1e9:.0f} GB are free")
    )
    if size > free and not remote:
        raise UserError(
            f"{where}: expected {size / 1e9:.1f} GB of free disk, found {free / 1e9:.1f} GB: lower prepare.views or free some"
        )
