"""The unit of work of stage one: a boundary of a store with its people, and the batches in which a teacher looks at them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.place import Where
from cache.targets import TargetLayout
from pipeline.people.people import People
from pipeline.views import Views


@dataclass(frozen=True)
class Unit:
    """What has to be known to make one boundary of a store, on whichever machine."""

    dataset: str
    store: Where
    layout: TargetLayout
    boundary: int
    images: Path
    """Picture folder."""
    people: People
    """The boundary's rows of the people table."""
    views: Views
    """Theirs."""

    @property
    def in_use(self) -> int:
        """People to look at."""
        return int(self.people.use.sum())


@dataclass(frozen=True)
class Batch:
    """People of one unit whom the teacher sees at once. Batches never cross a boundary: what a resumed run sees is what the first saw."""

    unit: Unit
    rows: np.ndarray
    """Of the unit; none in the only batch of a unit without people in use."""
    last: bool
    """Of its unit."""

    def by_picture(self) -> dict[str, np.ndarray]:
        """Picture file to the positions in the batch of its people, in the order of the first."""
        images = self.unit.people.image[self.rows].tolist()
        return {
            image: np.array([n for n, each in enumerate(images) if each == image]) for image in dict.fromkeys(images)
        }


def unit_of(
    dataset: str,
    store: Where,
    layout: TargetLayout,
    boundary: int,
    images: Path,
    people: People,
    views: Views,
    rows: np.ndarray | None = None,
) -> Unit:
    """The unit of that boundary, cut out of the tables of the whole split; other `rows` of them for a trial."""
    own = np.arange(layout.people)[layout.rows(boundary)] if rows is None else rows
    of_rows = Views(views.person[own], views.kinds, views.center[own], views.size[own], views.rotation[own])
    return Unit(dataset, store, layout, boundary, images, people.rows(own), of_rows)


def people_at_once(batch: int, views: int) -> int:
    """How many people make up a batch of about so many crops, all views of each."""
    return max(1, batch // views)


def batches_of(unit: Unit, at_once: int) -> list[Batch]:
    """The unit's people in use, `at_once` at a time, in order; the last batch may be short."""
    used = np.flatnonzero(unit.people.use)
    starts = range(0, max(len(used), 1), at_once)
    return [Batch(unit, used[start : start + at_once], start + at_once >= len(used)) for start in starts]
