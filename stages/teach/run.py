"""Stage one, `teach`: a teacher runs once on every person of every dataset, in every view, and its targets are written into stores."""

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, MultipleOf

from cache.backend import StoreLocation, backend_of
from cache.manifest import read_store_manifest
from cache.remote import Remote
from cache.targets import MIN_PEOPLE_PER_CHUNK, TargetLayout, compressed_bytes, open_targets
from cache.writer import finish, open_for_writing
from pipeline.common.errors import UserError, one_line
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.common.threads import cores, threads
from pipeline.inference.session import Teacher, open_teacher
from pipeline.metrics.accuracy import accuracy
from pipeline.people.image_manifest import ImageManifest, read_image_manifest
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.people.views import Views
from pipeline.pose.options import Device
from pipeline.teachers.spec_variants import spec_variants
from stages.project.datasets import TAUGHT_SPLITS, DatasetSettings, load_people, load_views, table_path
from stages.project.project import Project
from stages.project.teachers import TARGETS, TeacherSettings, store_path, teach_command
from stages.stores.decode import decoded_poses
from stages.stores.pointers import pointer_path, write_pointer
from stages.stores.targets import input_fingerprint, store_location
from stages.teach.check import CHECK_PEOPLE, CONFIDENT, check_teacher
from stages.teach.passed import check_inputs, passed_before, remember
from stages.teach.shards import ShardJob, shard_job
from stages.teach.stream import target_blocks, write_shards
from stages.teach.unfinished import Unfinished, read_unfinished, remove_unfinished

TRIAL_PEOPLE = 16
"""People of the trial that `--dry-run` estimates time and size by."""


@dataclass(frozen=True)
class TeachSettings:
    """The section `teach` of params.yaml."""

    shard: Annotated[int, Ge(MIN_PEOPLE_PER_CHUNK), Le(4096), MultipleOf(MIN_PEOPLE_PER_CHUNK)] = 128
    """People per shard: they are written together."""
    check: Annotated[int, Ge(0)] = CHECK_PEOPLE
    """People of its own dataset that a teacher is scored on before it starts; 0 for none."""


@dataclass(frozen=True)
class StoreJob:
    """One store to write."""

    dataset: str
    split: str
    images: Path
    """The image folder."""
    people: People
    views: Views
    manifest: ImageManifest
    layout: TargetLayout
    path: StoreLocation


@dataclass(frozen=True)
class Executor:
    """Runs the teacher and writes shards: this process, or a cluster."""

    provider: str
    """The ONNX Runtime provider of the teacher there."""
    write_shards: Callable[[Iterable[ShardJob]], Generator[int]]
    """Writes the shards of jobs, and yields the number of people in use of each."""
    keeps_unfinished: bool = False
    """Whether the people of a shard that is not complete are kept for the next run."""


def run(
    project: Project,
    teacher: str,
    device: Device = "auto",
    batch: int = 64,
    dry_run: bool = False,
    check: bool = True,
    log: Callable[[str], None] = print,
    scheduler: str | None = None,
) -> None:
    """Write or complete the stores of one teacher for the training and validation people of all datasets.

    Before that, the teacher is scored on some people of its own dataset, unless `check` is off; UserError if it is useless.
    `scheduler`: address of a `dask.distributed` cluster that does the work. `device` is then the device of its workers. This process
    still opens the teacher on any device, scores it, and holds the lock of the stores.
    """
    settings = project.teacher(teacher)
    datasets = project.datasets
    own_dataset = project.dataset(settings.dataset)
    teach_settings = project.section("teach", TeachSettings)
    own_device = "auto" if scheduler else device
    opened = open_teacher(teacher, settings.onnx, settings.spec, own_device, precision=settings.precision)
    splits = [(name, dataset, split) for name, dataset in datasets.items() if dataset.train for split in TAUGHT_SPLITS]
    jobs = [job for job in (_store_job(project, opened, *each, teach_settings) for each in splits) if len(job.people)]
    if not jobs:
        raise UserError("params.yaml: datasets: expected one with a `train` part to teach on, found none")
    log(f"teacher {teacher}: {settings.onnx} on {opened.runtime.note}")
    if dry_run:
        _estimate(opened, jobs, batch, project.remote_targets, log)
        return
    with _executor(opened, settings, device, batch, scheduler, log) as executor:
        if not (own_dataset.labels_train or (own_dataset.labelled and own_dataset.test)):
            log(f"teacher {teacher}: not scored, since {settings.dataset} has boxes only")
        elif check and teach_settings.check and not all(_is_finished(opened, executor, job) for job in jobs):
            _check(project, settings, opened, teach_settings.check, batch, log)
        processed = 0
        with exclusive(TARGETS / teacher):
            for job in jobs:
                processed += _write(opened, executor, job, log)
    _summary(settings, datasets, jobs, processed, log)


def _check(
    project: Project,
    settings: TeacherSettings,
    teacher: Teacher,
    people: int,
    batch: int,
    log: Callable[[str], None],
) -> None:
    """Score the teacher on its own dataset, unless it has passed the same check before; UserError if it is useless."""
    inputs = check_inputs(project, settings, teacher, people)
    before = passed_before(teacher.name, inputs)
    if before is not None:
        log(f"teacher {teacher.name}: {before}, as an earlier check has found")
        return
    variants = [variant for variant in spec_variants(settings.spec) if variant.decisive]
    result = check_teacher(project, settings, teacher, variants, people, batch)
    words = f"{result.score} {result.value:.1f} on {result.people} people of {settings.dataset}"
    log(f"teacher {teacher.name}: {words}")
    if result.failure:
        anyway = "`--no-check`, or teach.check: 0 in params.yaml, teaches all the same"
        raise UserError(f"teacher {teacher.name}: {result.failure}; {anyway}")
    remember(teacher.name, inputs, words)


@contextlib.contextmanager
def _executor(
    teacher: Teacher,
    settings: TeacherSettings,
    device: Device,
    batch: int,
    scheduler: str | None,
    log: Callable[[str], None],
) -> Iterator[Executor]:
    """Provide this process, or the workers of a cluster, as the executor."""
    if scheduler is None:
        yield Executor(teacher.runtime.provider, lambda jobs: write_shards(teacher, jobs, batch, cores()), True)
        return
    try:
        from stages.teach import cluster
    except ImportError as error:
        raise UserError(
            f"--scheduler: {one_line(error)}: install what it needs with `pip install 'pose-fusion[cluster]'`"
        ) from error
    request = cluster.TeacherRequest(
        teacher.name, settings.onnx.absolute(), settings.spec, settings.precision, device, teacher.sha256
    )
    with cluster.connect(scheduler) as client:
        provider = cluster.common_provider(client, request)
        log(f"teacher {teacher.name}: {len(client.nthreads())} workers of {scheduler} on {provider}")
        yield Executor(provider, lambda jobs: cluster.write_shards_on_cluster(client, request, provider, jobs, batch))


def _store_job(
    project: Project, teacher: Teacher, name: str, dataset: DatasetSettings, split: str, settings: TeachSettings
) -> StoreJob:
    people = load_people(name, split)
    views = load_views(name, split, people)
    layout = TargetLayout(
        len(people),
        len(views),
        len(teacher.spec.skeleton),
        teacher.target_wh[1],
        teacher.target_wh[0],
        settings.shard,
        separate=teacher.spec.kind == "simcc",
    )
    manifest = read_image_manifest(table_path(name, split, "pictures"))
    path = store_location(project, teacher.name, name, split)
    return StoreJob(name, split, dataset.images(split), people, views, manifest, layout, path)


def _fingerprint(teacher: Teacher, executor: Executor, job: StoreJob) -> dict[str, Any]:
    computed_by = {"teacher": teacher.sha256, "provider": executor.provider, "precision": teacher.precision}
    return job.layout.fingerprint(computed_by | input_fingerprint(teacher.spec, job.people, job.views, job.manifest))


def _is_finished(teacher: Teacher, executor: Executor, job: StoreJob) -> bool:
    """Return whether this very teacher has finished the store. The store may have been damaged since."""
    manifest = read_store_manifest(job.path)
    return manifest is not None and manifest["fingerprint"] == _fingerprint(teacher, executor, job)


def _write(teacher: Teacher, executor: Executor, job: StoreJob, log: Callable[[str], None]) -> int:
    """Write the pending shards of one store; return the number of people that the teacher ran on."""
    fingerprint = _fingerprint(teacher, executor, job)
    plan = open_for_writing(job.path, job.layout, fingerprint)
    if plan.reason:
        log(f"{job.path}: {plan.reason}")
    sizes = job.manifest.sizes()
    processed = 0
    total = sum(int(job.people.use[job.layout.rows(shard)].sum()) for shard in plan.pending)
    store = job.path if executor.keeps_unfinished and isinstance(job.path, Path) else None
    shard_jobs = (
        replace(
            _shard_job(job, shard, unfinished=read_unfinished(store, shard, fingerprint) if store else None),
            fingerprint=fingerprint,
            image_bytes={name: sizes[name] for name in _names(job, shard) if name in sizes},
        )
        for shard in plan.pending
    )
    with (
        progress(total, f"{teacher.name} on {job.dataset} {job.split}", "people") as bar,
        contextlib.closing(executor.write_shards(shard_jobs)) as counts,
    ):
        for count in counts:
            processed += count
            bar.update(count)
    if plan.pending or plan.reason != "complete":
        finish(job.path, job.layout, fingerprint)
    remove_unfinished(store_path(teacher.name, job.dataset, job.split))
    _update_pointer(teacher.name, job, log)
    return processed


def _names(job: StoreJob, shard: int) -> set[str]:
    """Return the names of a shard's images."""
    return set(job.people.image[job.layout.rows(shard)].tolist())


def _update_pointer(teacher: str, job: StoreJob, log: Callable[[str], None]) -> None:
    """Write a pointer to a remote store where the store would be on disk; remove an old pointer next to a store on disk."""
    local = store_path(teacher, job.dataset, job.split)
    if not isinstance(job.path, Remote):
        pointer_path(local).unlink(missing_ok=True)
        return
    write_pointer(pointer_path(local), job.path)
    if local.exists():
        log(
            f"{local}: no longer read, since params.yaml names {job.path} instead: delete it, and run `dvc commit` "
            "after that, or DVC trains the students again"
        )


def _shard_job(
    job: StoreJob, shard: int, rows: np.ndarray | None = None, unfinished: Unfinished | None = None
) -> ShardJob:
    return shard_job(job.dataset, job.path, job.layout, shard, job.images, job.people, job.views, rows, unfinished)


def stored_poses(
    settings: TeacherSettings, dataset: str, split: str, people: People, path: StoreLocation | None = None
) -> Poses:
    """Return the teacher's poses of the people in use, decoded from view 0 of its store. Without a `path`, the store is on disk."""
    path = path or store_path(settings.name, dataset, split)
    store = open_targets(path, teach_command(settings.name), people.person)
    return decoded_poses(store, settings.spec, people)


def _summary(
    settings: TeacherSettings,
    datasets: dict[str, DatasetSettings],
    jobs: list[StoreJob],
    processed: int,
    log: Callable[[str], None],
) -> None:
    people = sum(int(job.people.use.sum()) for job in jobs)
    views = jobs[0].layout.views
    size = sum(sum(backend_of(job.path).sizes().values()) for job in jobs)
    own_dataset = datasets[settings.dataset]
    scores = []
    for job in jobs:
        if job.dataset == settings.dataset and own_dataset.labels_train:
            poses = stored_poses(settings, job.dataset, job.split, job.people, job.path)
            name, value = accuracy(own_dataset.score, job.people, poses)
            scored = "over nobody" if np.isnan(value) else f"{value:.1f}"
            scores.append(f"{name} {scored} on {job.dataset} {job.split}")
        elif not datasets[job.dataset].labels_train and job.people.use.any():
            confidence = stored_poses(settings, job.dataset, job.split, job.people, job.path).confidence
            scores.append(
                f"confidence {confidence.mean():.2f} in the mean, {100 * np.mean(confidence > CONFIDENT):.0f} % of the keypoints above "
                f"{CONFIDENT} on {job.dataset} {job.split}, which has no labels"
            )
    log(
        f"teacher {settings.name}: {people} people x {views} {'view' if views == 1 else 'views'}, {processed} processed now, "
        f"{', '.join([f'{size / max(people * views, 1) / 1000:.2f} kB per person and view', *scores])}"
    )


def _estimate(
    teacher: Teacher, jobs: list[StoreJob], batch: int, remote: str | None, log: Callable[[str], None]
) -> None:
    """Log crops, hours and gigabytes of a run, measured on a few people of the first store; UserError if the disk is too small."""
    first = jobs[0]
    rows = np.flatnonzero(first.people.use)[:TRIAL_PEOPLE]
    if not len(rows):
        raise UserError(f"{first.dataset} {first.split}: expected people in use, found none: run `pipeline prepare`")
    trial = _shard_job(first, 0, rows)
    with threads(cores()) as pool:
        (_,) = target_blocks(teacher, [trial], batch, pool)
        start = time.perf_counter()
        ((_, block),) = target_blocks(teacher, [trial], batch, pool)
    crops = len(rows) * len(first.views)
    seconds = (time.perf_counter() - start) / crops
    total = sum(int(job.people.use.sum()) * job.layout.views for job in jobs)
    size = total * compressed_bytes(block.levels) / crops
    folder = TARGETS / teacher.name
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    log(
        f"teacher {teacher.name}: {total} crops, about {total * seconds / 3600:.2f} hours on {teacher.runtime.provider} "
        f"({1 / seconds:.0f} crops a second, reading included), about {size / 1e9:.3f} GB"
        + (f" to {remote}" if remote else f"; {free / 1e9:.0f} GB are free")
    )
    if size > free and not remote:
        raise UserError(
            f"{folder}: expected {size / 1e9:.1f} GB of free disk, found {free / 1e9:.1f} GB: lower prepare.views or free some"
        )
