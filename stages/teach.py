"""Stage one, `teach`: a teacher looks once at every person of every dataset, in every view, and its targets go into stores."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dask
import numpy as np
from annotated_types import Ge, Le, MultipleOf

from cache.layout import CHUNK, Layout, compressed_bytes, fingerprint_of
from cache.lock import exclusive
from cache.manifest import read_manifest as read_store_manifest
from cache.reader import open_targets
from cache.writer import finish, open_for_writing, write_boundary
from pipeline.crops import crop
from pipeline.errors import UserError
from pipeline.people.manifest import Manifest, read_manifest
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.scores.poses import Poses
from pipeline.teachers.readings import other_readings
from pipeline.teachers.session import Device, Teacher, open_teacher
from pipeline.teachers.targets import targets_of
from pipeline.views import Views
from stages.check import PEOPLE, examine
from stages.datasets import TAUGHT, DatasetSettings, dataset_settings, load_people, load_views, named, table_path
from stages.decoded import decoded_poses
from stages.evaluation.scores import accuracy
from stages.params import settings
from stages.progress import progress
from stages.stores import shown_to
from stages.teachers import TARGETS, TeacherSettings, store_path, teach_command, teacher_settings

TRIAL_PEOPLE = 16


@dataclass(frozen=True)
class TeachSettings:
    boundary: Annotated[int, Ge(CHUNK), Le(4096), MultipleOf(CHUNK)] = 128
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
    layout: Layout
    path: Path


def run(
    params: dict[str, Any],
    teacher: str,
    device: Device = "auto",
    batch: int = 64,
    dry_run: bool = False,
    check: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Write or complete the stores of one teacher over the training and validation people of all datasets.

    Before anything is written the teacher is scored on some people of its own dataset, unless `check` is off; UserError on nonsense.
    """
    wanted = teacher_settings(params, teacher)
    datasets = dataset_settings(params)
    named(datasets, wanted.dataset)
    chosen = settings(params, "teach", TeachSettings)
    opened = open_teacher(teacher, wanted.onnx, wanted.spec, device, precision=wanted.precision)
    parts = [(name, dataset, split) for name, dataset in datasets.items() if dataset.train for split in TAUGHT]
    works = [work for work in (_work(opened, *part, chosen) for part in parts) if len(work.people)]
    if not works:
        raise UserError("params.yaml: datasets: expected one with a `train` part to teach on, found none")
    say(f"teacher {teacher}: {wanted.onnx} on {opened.opened.note}")
    if dry_run:
        _estimate(opened, works, batch, say)
        return
    if check and chosen.check and not all(_written(opened, work) for work in works):
        decisive = [reading for reading in other_readings(wanted.spec) if reading.decisive]
        found = examine(params, wanted, opened, decisive, chosen.check, batch)
        say(f"teacher {teacher}: {found.score} {found.value:.1f} on {found.people} people of {wanted.dataset}")
        if found.trouble:
            anyway = "`--no-check`, or teach.check: 0 in params.yaml, teaches all the same"
            raise UserError(f"teacher {teacher}: {found.trouble}; {anyway}")
    written = 0
    with exclusive(TARGETS / teacher):
        for work in works:
            written += _write(opened, work, batch, say)
    _summary(wanted, datasets, works, written, say)


def _work(teacher: Teacher, name: str, dataset: DatasetSettings, split: str, chosen: TeachSettings) -> Work:
    people = load_people(name, split)
    views = load_views(name, split, people)
    layout = Layout(
        len(people),
        len(views),
        len(teacher.spec.skeleton),
        teacher.target_wh[1],
        teacher.target_wh[0],
        chosen.boundary,
        separate=teacher.spec.kind == "simcc",
    )
    manifest = read_manifest(table_path(name, split, "pictures"))
    return Work(
        name, split, dataset.images(split), people, views, manifest, layout, store_path(teacher.name, name, split)
    )


def _fingerprint(teacher: Teacher, work: Work) -> dict[str, Any]:
    run_of = {"teacher": teacher.sha256, "provider": teacher.opened.provider, "precision": teacher.precision}
    return fingerprint_of(work.layout, run_of | shown_to(teacher.spec, work.people, work.views, work.manifest))


def _written(teacher: Teacher, work: Work) -> bool:
    """Has this very teacher finished the store, whatever happened to it since?"""
    manifest = read_store_manifest(work.path)
    return manifest is not None and manifest["fingerprint"] == _fingerprint(teacher, work)


def _write(teacher: Teacher, work: Work, batch: int, say: Callable[[str], None]) -> int:
    """Write what is pending of one store; the number of people looked at."""
    fingerprint = _fingerprint(teacher, work)
    plan = open_for_writing(work.path, work.layout, fingerprint)
    if plan.reason:
        say(f"{work.path}: {plan.reason}")
    looked = 0
    total = sum(int(work.people.use[work.layout.rows(b)].sum()) for b in plan.pending)
    with progress(total, f"{teacher.name} on {work.dataset} {work.split}", "people") as bar:
        for boundary in plan.pending:
            rows = work.layout.rows(boundary)
            block = _block(teacher, work, rows, batch)
            dask.compute(dask.delayed(write_boundary)(work.path, work.layout, boundary, block), scheduler="threads")
            count = int(work.people.use[rows].sum())
            looked += count
            bar.update(count)
    if plan.pending or plan.reason != "complete":
        finish(work.path, work.layout, fingerprint)
    return looked


def _block(teacher: Teacher, work: Work, rows: slice, batch: int) -> Any:
    """The delayed targets of a run of people."""
    return dask.delayed(targets_of)(teacher, work.people, work.views, rows, _crops(teacher, work, rows), batch)


def _crops(teacher: Teacher, work: Work, rows: slice) -> Any:
    """Delayed crops by row; each picture is read once for all its people and views."""
    used = np.flatnonzero(work.people.use[rows]) + rows.start
    pictures = _by_picture(work.people, used)
    return dask.delayed(_merged)(
        [dask.delayed(_crops_of)(teacher, work, image, rows_) for image, rows_ in pictures.items()]
    )


def _by_picture(people: People, rows: np.ndarray) -> dict[str, list[int]]:
    pictures: dict[str, list[int]] = {}
    for row in rows.tolist():
        pictures.setdefault(str(people.image[row]), []).append(row)
    return pictures


def _crops_of(teacher: Teacher, work: Work, image: str, rows: list[int]) -> dict[int, np.ndarray]:
    """uint8 (V, h, w, 3) crops of each of the people `rows` of one picture."""
    picture = read_picture(safe_path(work.images, image), work.people.image_wh[rows[0]])
    affines = {row: teacher.spec.input_from_image(work.views.regions(row, slice(None))) for row in rows}
    return {row: crop(picture, affine, teacher.spec.input_wh) for row, affine in affines.items()}


def _merged(parts: list[dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    return {row: crops for part in parts for row, crops in part.items()}


def stored_poses(wanted: TeacherSettings, dataset: str, split: str, people: People) -> Poses:
    """The teacher's poses of the people in use, decoded from view 0 of its store."""
    store = open_targets(store_path(wanted.name, dataset, split), teach_command(wanted.name), people.person)
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
    size = sum(file.stat().st_size for work in works for file in work.path.rglob("*") if file.is_file())
    own = datasets[wanted.dataset]
    scores = []
    for work in works:
        if work.dataset == wanted.dataset:
            name, value = accuracy(own, work.people, stored_poses(wanted, work.dataset, work.split, work.people))
            scores.append(f"{name} {value:.1f} on {work.dataset} {work.split}")
    say(
        f"teacher {wanted.name}: {people} people x {views} views, {written} looked at now, "
        f"{size / max(people * views, 1) / 1000:.2f} kB per person and view, {', '.join(scores)}"
    )


def _estimate(teacher: Teacher, works: list[Work], batch: int, say: Callable[[str], None]) -> None:
    """Crops, hours and gigabytes of a run, from a few people of the first store; UserError where the disk is too small."""
    first = works[0]
    some = np.flatnonzero(first.people.use)[:TRIAL_PEOPLE]
    if not len(some):
        raise UserError(f"{first.dataset} {first.split}: expected people in use, found none: run `pipeline prepare`")
    rows = slice(int(some[0]), int(some[-1]) + 1)
    dask.compute(_block(teacher, first, slice(rows.start, rows.start + 1), batch), scheduler="threads")
    start = time.perf_counter()
    (block,) = dask.compute(_block(teacher, first, rows, batch), scheduler="threads")
    crops = len(some) * len(first.views)
    seconds = (time.perf_counter() - start) / crops
    total = sum(int(work.people.use.sum()) * work.layout.views for work in works)
    size = total * compressed_bytes(block.levels) / crops
    where = TARGETS / teacher.name
    free = shutil.disk_usage(next(folder for folder in (where, *where.parents) if folder.exists())).free
    say(
        f"teacher {teacher.name}: {total} crops, about {total * seconds / 3600:.2f} hours on {teacher.opened.provider} "
        f"({1 / seconds:.0f} crops a second, reading included), about {size / 1e9:.3f} GB; {free / 1e9:.0f} GB are free"
    )
    if size > free:
        raise UserError(
            f"{where}: expected {size / 1e9:.1f} GB of free disk, found {free / 1e9:.1f} GB: lower prepare.views or free some"
        )
