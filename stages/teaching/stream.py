"""Units of work through a teacher: pictures are read, cropped, judged and written by threads while the teacher looks at the next batch.

Everything that waits is counted, so memory does not grow with the number of units. Results come in order, and so do errors.
"""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from cache.writer import write_boundary
from pipeline.people.pictures import read_picture, safe_path
from pipeline.targets.block import TargetBlock
from pipeline.teachers.inputs import fill, normalised_levels, widened
from pipeline.teachers.session import Teacher
from pipeline.teachers.targets import blank, enter, look
from stages.datasets import advised
from stages.teaching.units import Batch, Unit, batches_of, people_at_once
from stages.threads import threads

INPUTS = 4
"""Batches of network inputs in memory: one is looked at, two are being filled, one waits for what it shares with the one before."""
OUTPUTS = 3
"""Batches of raw outputs that are judged and quantised, or wait for it."""
BLOCKS = 2
"""Units that are compressed and written, or wait for it."""


def written(
    teacher: Teacher,
    units: Iterable[Unit],
    batch: int,
    count: int,
    turn: AbstractContextManager[object] | None = None,
) -> Generator[int]:
    """Write units, all of the same number of views; yields of each, in order, how many people were looked at, once it is on disk.

    `turn` is held while the teacher looks, for several streams that share one. Close the iterator: it ends the threads.
    """
    writes: deque[tuple[int, Future[None]]] = deque()
    with threads(count) as pool:
        try:
            for unit, block in blocks(teacher, units, batch, pool, turn):
                writes.append(
                    (unit.in_use, pool.submit(write_boundary, unit.store, unit.layout, unit.boundary, block.arrays))
                )
                while writes and (len(writes) > BLOCKS or writes[0][1].done()):
                    yield _result(writes.popleft())
        except Exception:
            wait([future for _, future in writes])  # what came before the error is kept
            raise
        while writes:
            yield _result(writes.popleft())


def _result(write: tuple[int, Future[None]]) -> int:
    count, future = write
    future.result()
    return count


def blocks(
    teacher: Teacher,
    units: Iterable[Unit],
    batch: int,
    pool: ThreadPoolExecutor,
    turn: AbstractContextManager[object] | None = None,
) -> Iterator[tuple[Unit, TargetBlock]]:
    """The targets of units, in order. The first error in the order of people is raised, whichever thread it happens in, and
    after all units before it."""
    judged: deque[tuple[Batch, TargetBlock, Future[None]]] = deque()
    block: TargetBlock | None = None
    try:
        for each, inputs in _filled(teacher, units, batch, pool):
            people = each.unit.people
            block = blank(teacher, people, each.unit.views) if block is None else block
            with turn or contextlib.nullcontext():
                looks = look(teacher, inputs, batch) if len(inputs) else ()
            judged.append((each, block, pool.submit(enter, block, each.rows, looks, teacher, people)))
            del looks
            if each.last:
                block = None
            yield from _judged(judged, OUTPUTS)
    except Exception:
        yield from _judged(judged, 0)
        raise
    yield from _judged(judged, 0)


def _judged(waiting: deque[tuple[Batch, TargetBlock, Future[None]]], most: int) -> Iterator[tuple[Unit, TargetBlock]]:
    """Units of which everything is judged, until at most so many batches wait. A batch whose judging fails stays the first."""
    while waiting and (len(waiting) > most or waiting[0][2].done()):
        batch, block, future = waiting[0]
        future.result()
        waiting.popleft()
        if batch.last:
            yield batch.unit, block


@dataclass(frozen=True)
class _Filling:
    """A batch, and what fills its network inputs."""

    batch: Batch
    inputs: np.ndarray
    """(people at once, V, 3, H, W)."""
    tasks: list[Future[None]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    """Pictures that the batch before has too: its tasks crop them for both."""


def _filled(
    teacher: Teacher, units: Iterable[Unit], size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Batches in order with their network inputs (M, 3, H, W), which are good until the next one is asked for."""
    levels, free = normalised_levels(teacher.spec, teacher.number), list[np.ndarray]()
    coming = _fillings(teacher, units, size, levels.dtype, free)
    waiting: deque[_Filling] = deque()
    following = next(coming, None)
    while following or waiting:
        while following and len(waiting) < INPUTS - 1:
            current, following = following, next(coming, None)
            _submit(teacher, levels, current, following, pool)
            waiting.append(current)
        first = waiting.popleft()
        for task in first.tasks:
            task.result()
        yield first.batch, first.inputs[: len(first.batch.rows)].reshape(-1, *first.inputs.shape[2:])
        free.append(first.inputs)


def _fillings(
    teacher: Teacher, units: Iterable[Unit], size: int, number: np.dtype, free: list[np.ndarray]
) -> Iterator[_Filling]:
    """The batches of the units, each with an array out of `free`, or a new one where none is."""
    width, height = teacher.spec.input_wh
    for unit in units:
        views = len(unit.views)
        people = people_at_once(size, views)
        for batch in batches_of(unit, people):
            yield _Filling(batch, free.pop() if free else np.empty((people, views, 3, height, width), number))


def _submit(
    teacher: Teacher, levels: np.ndarray, current: _Filling, following: _Filling | None, pool: ThreadPoolExecutor
) -> None:
    """Start a task for each picture of a batch, which crops the picture's people in the following batch as well."""
    ahead = following.batch.by_picture() if following else {}
    for image, positions in current.batch.by_picture().items():
        if image in current.shared:
            continue
        places = [(current, positions)]
        if following and image in ahead:
            places.append((following, ahead[image]))
            following.shared.add(image)
        task = pool.submit(_fill, teacher, levels, image, places)
        for filling, _ in places:
            filling.tasks.append(task)


def _fill(teacher: Teacher, levels: np.ndarray, image: str, places: list[tuple[_Filling, np.ndarray]]) -> None:
    """Read a picture and crop it into the network inputs of people at positions in batches."""
    first, positions = places[0]
    unit = first.batch.unit
    wh = unit.people.image_wh[first.batch.rows[positions[0]]]
    with advised(unit.dataset):
        picture = widened(read_picture(safe_path(unit.images, image), wh))
    for filling, positions in places:
        views = filling.batch.unit.views
        affines = teacher.spec.input_from_image(views.regions(filling.batch.rows[positions], slice(None)))
        for position, of_person in zip(positions, affines.reshape(len(positions), len(views), 2, 3), strict=True):
            fill(filling.inputs[position], picture, of_person, teacher.spec, levels)
