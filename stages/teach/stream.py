"""Streams shard jobs through a teacher: threads read, crop, check and write while the teacher runs on the next batch.

All queues have a limit, so memory does not grow with the number of jobs. Results and errors come in the order of the jobs.
"""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from cache.writer import write_shard
from pipeline.common.threads import threads
from pipeline.inference.session import Teacher
from pipeline.inference.soft_targets import empty_targets, run_teacher, write_targets
from pipeline.people.images import read_prepared_image, safe_path
from pipeline.targets.block import TargetBlock
from pipeline.teachers.inputs import normalised_levels, with_fourth_channel, write_inputs
from stages.project.datasets import with_prepare_hint
from stages.teach.shards import Batch, ShardJob, batches_of, people_per_batch
from stages.teach.unfinished import Keeper

INPUT_BATCHES = 4
"""Batches of network inputs in memory: the teacher runs on one, two are being filled, one waits for images it shares with the last."""
OUTPUT_BATCHES = 3
"""Batches of raw outputs that are being checked and quantised, or wait for it."""
PENDING_WRITES = 2
"""Shards that are being compressed and written, or wait for it."""


def write_shards(
    teacher: Teacher,
    jobs: Iterable[ShardJob],
    batch: int,
    count: int,
    turn: AbstractContextManager[object] | None = None,
) -> Generator[int]:
    """Write the shards of jobs with equally many views, in `count` threads. Yield the people in use of each, in order, once on disk.

    `turn` is held while the teacher runs, for streams that share one teacher. Closing the iterator ends the threads.
    """
    writes: deque[tuple[int, Future[None]]] = deque()
    with threads(count) as pool:
        try:
            for job, block in target_blocks(teacher, jobs, batch, pool, turn):
                writes.append((job.people_in_use, pool.submit(_write, job, block)))
                while writes and (len(writes) > PENDING_WRITES or writes[0][1].done()):
                    yield _result(writes.popleft())
        except Exception:
            wait([future for _, future in writes])  # shards before the error are kept
            raise
        while writes:
            yield _result(writes.popleft())


def _write(job: ShardJob, block: TargetBlock) -> None:
    write_shard(job.store, job.layout, job.shard, block.arrays)
    if job.unfinished:
        job.unfinished.file.unlink(missing_ok=True)


def _result(write: tuple[int, Future[None]]) -> int:
    count, future = write
    future.result()
    return count


def target_blocks(
    teacher: Teacher,
    jobs: Iterable[ShardJob],
    batch: int,
    pool: ThreadPoolExecutor,
    turn: AbstractContextManager[object] | None = None,
) -> Iterator[tuple[ShardJob, TargetBlock]]:
    """Yield the targets of jobs, in order. The first error in the order of people is raised, after all jobs before it."""
    checking: deque[tuple[Batch, TargetBlock, Future[None]]] = deque()
    block: TargetBlock | None = None
    keeper = Keeper()
    try:
        for current, inputs in _filled(teacher, jobs, batch, pool):
            people = current.job.people
            if block is None:
                block = empty_targets(teacher, people, current.job.views)
                if current.job.unfinished:
                    current.job.unfinished.fill(block)
            with turn or contextlib.nullcontext():
                outputs = run_teacher(teacher, inputs, batch) if len(inputs) else ()
            checking.append((current, block, pool.submit(write_targets, block, current.rows, outputs, teacher, people)))
            del outputs
            if current.last:
                block = None
            yield from _checked(checking, OUTPUT_BATCHES, keeper)
    except Exception:
        yield from _checked(checking, 0, keeper)
        raise
    yield from _checked(checking, 0, keeper)


def _checked(
    waiting: deque[tuple[Batch, TargetBlock, Future[None]]], most: int, keeper: Keeper
) -> Iterator[tuple[ShardJob, TargetBlock]]:
    """Yield jobs whose targets are complete, until at most `most` batches wait. A batch that fails stays the first one."""
    while waiting and (len(waiting) > most or waiting[0][2].done()):
        batch, block, future = waiting[0]
        future.result()
        waiting.popleft()
        if batch.last:
            yield batch.job, block
        elif batch.job.unfinished:
            keeper.keep(batch.job.unfinished, block, batch.job.people.use, int(batch.rows[-1]))


@dataclass(frozen=True)
class _Filling:
    """A batch, and the tasks that fill its network inputs."""

    batch: Batch
    inputs: np.ndarray
    """Network inputs of the teacher's dtype: (people per batch, V, 3, H, W)."""
    tasks: list[Future[None]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    """Images that the batch before has too. Its tasks crop them for both batches."""


def _filled(
    teacher: Teacher, jobs: Iterable[ShardJob], size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield batches in order with their network inputs (M, 3, H, W), which are valid until the next batch is requested."""
    levels, free = normalised_levels(teacher.spec, teacher.dtype), list[np.ndarray]()
    coming = _fillings(teacher, jobs, size, levels.dtype, free)
    waiting: deque[_Filling] = deque()
    following = next(coming, None)
    while following or waiting:
        while following and len(waiting) < INPUT_BATCHES - 1:
            current, following = following, next(coming, None)
            _submit(teacher, levels, current, following, pool)
            waiting.append(current)
        first = waiting.popleft()
        for task in first.tasks:
            task.result()
        yield first.batch, first.inputs[: len(first.batch.rows)].reshape(-1, *first.inputs.shape[2:])
        free.append(first.inputs)


def _fillings(
    teacher: Teacher, jobs: Iterable[ShardJob], size: int, dtype: np.dtype, free: list[np.ndarray]
) -> Iterator[_Filling]:
    """Yield the batches of the jobs, each with an array from `free`, or a new one if there is none."""
    width, height = teacher.spec.input_wh
    for job in jobs:
        views = len(job.views)
        people = people_per_batch(size, views)
        for batch in batches_of(job, people):
            yield _Filling(batch, free.pop() if free else np.empty((people, views, 3, height, width), dtype))


def _submit(
    teacher: Teacher, levels: np.ndarray, current: _Filling, following: _Filling | None, pool: ThreadPoolExecutor
) -> None:
    """Start a task for each image of a batch, which also crops the image's people in the following batch."""
    ahead = following.batch.by_image() if following else {}
    for image, positions in current.batch.by_image().items():
        if image in current.shared:
            continue
        places = [(current, positions)]
        if following and image in ahead:
            places.append((following, ahead[image]))
            following.shared.add(image)
        task = pool.submit(_fill, teacher, levels, image, places)
        for filling, _ in places:
            filling.tasks.append(task)


def _fill(teacher: Teacher, levels: np.ndarray, name: str, places: list[tuple[_Filling, np.ndarray]]) -> None:
    """Read an image and crop it into the network inputs of people at positions in batches."""
    first, positions = places[0]
    job = first.batch.job
    wh = job.people.image_wh[first.batch.rows[positions[0]]]
    with with_prepare_hint(job.dataset):
        image = with_fourth_channel(read_prepared_image(safe_path(job.images, name), wh, job.image_bytes.get(name)))
    for filling, positions in places:
        views = filling.batch.job.views
        affines = teacher.spec.input_from_image(views.regions(filling.batch.rows[positions], slice(None)))
        for position, of_person in zip(positions, affines.reshape(len(positions), len(views), 2, 3), strict=True):
            write_inputs(filling.inputs[position], image, of_person, teacher.spec, levels)
