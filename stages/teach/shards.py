"""The unit of work of stage one: one shard of a store with its people, and the batches in which the teacher runs on them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.backend import StoreLocation
from cache.targets import TargetLayout
from pipeline.people.people import People
from pipeline.people.views import Views
from stages.teach.unfinished import Unfinished


@dataclass(frozen=True)
class ShardJob:
    """All that a process on any machine needs to write one shard of a store."""

    dataset: str
    store: StoreLocation
    layout: TargetLayout
    shard: int
    images: Path
    """The image folder."""
    people: People
    """The shard's rows of the people table."""
    views: Views
    """The views of these people."""
    unfinished: Unfinished | None = None
    """What an earlier run has left of the shard; None where nothing is kept before a shard is complete."""
    image_bytes: dict[str, int] = field(default_factory=dict)
    """Sizes of the image files when they were prepared; {} in a trial."""
    fingerprint: dict[str, Any] = field(default_factory=dict)
    """That of the store, for processes that did not open it; {} in a trial, which writes none."""

    @property
    def people_in_use(self) -> int:
        """The number of people that the teacher runs on."""
        return int(self.people.use.sum())


@dataclass(frozen=True)
class Batch:
    """People of one job that the teacher runs on at once. No batch spans two shards, so a resumed run has the batches of the first."""

    job: ShardJob
    rows: np.ndarray
    """Rows of the job's people. A job without people in use has one batch without rows."""
    last: bool
    """Whether this is the last batch of its job."""

    def by_image(self) -> dict[str, np.ndarray]:
        """Return, by image file, the positions of its people in the batch, ordered by the first of them."""
        images = self.job.people.image[self.rows].tolist()
        return {
            image: np.array([n for n, other in enumerate(images) if other == image]) for image in dict.fromkeys(images)
        }


def shard_job(
    dataset: str,
    store: StoreLocation,
    layout: TargetLayout,
    shard: int,
    images: Path,
    people: People,
    views: Views,
    rows: np.ndarray | None = None,
    unfinished: Unfinished | None = None,
) -> ShardJob:
    """Return the job of a shard, with its rows of the tables of the whole split. A trial gives other `rows`."""
    own = np.arange(layout.people)[layout.rows(shard)] if rows is None else rows
    return ShardJob(dataset, store, layout, shard, images, people.rows(own), views.rows(own), unfinished)


def people_per_batch(batch: int, views: int) -> int:
    """Return how many people, with all their views, make a batch of about `batch` crops."""
    return max(1, batch // views)


def batches_of(job: ShardJob, people: int) -> list[Batch]:
    """Return the batches of a job: its people in use that are not done, in order, `people` per batch. The last batch may be smaller."""
    used = np.flatnonzero(job.people.use)
    done = job.unfinished.people if job.unfinished else 0
    starts = range(done, max(len(used), done + 1), people)
    return [Batch(job, used[start : start + people], start + people >= len(used)) for start in starts]
