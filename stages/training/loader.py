"""Loads the batch of a training step: people in shuffled order, each in a view, with the teachers' targets for that view.

A batch depends on the seed and the number of its step alone.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache.crops import CropStore
from cache.targets import PEOPLE_PER_CHUNK, TargetStore
from pipeline.people.images import decode_image, read_image, safe_path
from pipeline.people.people import People
from pipeline.people.views import PLAIN, STRONG, WEAK, Views, draw_view
from pipeline.pose.crops import crop
from pipeline.pose.geometry import Regions, compose, invert, mirror_affine
from pipeline.pose.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.online import OnlineTeacher
from pipeline.training.batch import LoadedBatch

ORDER, JITTER = 1, 2
"""Random streams of the people's order and of the crops' jitter: each draws from SeedSequence([seed, stream, ...])."""

SHUFFLE_CHUNKS = 16
"""Number of chunks whose people are shuffled among each other. Twice as many stay decoded per teacher and dataset."""


@dataclass(frozen=True)
class TrainingSource:
    """The training people of one dataset with their views and the teachers' stores of their targets."""

    name: str
    images: Path
    """Folder of the dataset's images."""
    people: People
    views: Views
    stores: dict[str, TargetStore]
    """Stores of targets by teacher."""
    corrections: dict[str, np.ndarray] = field(default_factory=dict)
    """By teacher, float (N, K, 2): image pixels by which its keypoints are moved, see pipeline.training.calibration."""
    crops: CropStore | None = None
    """Store of crops that is read instead of the images; its crops contain all that the views show."""

    @property
    def pixels(self) -> float:
        """Average number of pixels that are decoded for a person."""
        wh = self.people.image_wh if self.crops is None else self.crops.wh[self.people.use]
        return float(wh.astype(np.float64).prod(axis=1).mean())


@dataclass(frozen=True)
class CropJitter:
    """How the views are drawn or replayed, and the random changes of a crop in addition to its view."""

    fresh_rotation: float | None
    """Largest rotation in degrees of new views, drawn for each step; None to replay the stored views."""
    weak_from: int
    """Number of the step from which on only plain and weak views are used."""
    scale: float
    """Largest change of the region's size, as a share of it."""
    shift: float
    """Largest shift of the region, as a share of its size."""
    flip: float
    """Probability of a mirrored crop."""


def epoch_order(sources: list[TrainingSource], epoch: int, kinds: tuple[str, ...], seed: int) -> np.ndarray:
    """Return source, row and view of every person in use, once, in the epoch's random order: int (M, 3).

    All people of chunk c have the view (epoch + c) mod V, of the V views of these `kinds`.
    """
    random = np.random.default_rng(np.random.SeedSequence([seed, ORDER, epoch]))
    chunks = []
    for source_index, source in enumerate(sources):
        views = [v for v, kind in enumerate(source.views.kinds) if kind in kinds]
        for chunk, start in enumerate(range(0, len(source.people), PEOPLE_PER_CHUNK)):
            rows = start + np.flatnonzero(source.people.use[start : start + PEOPLE_PER_CHUNK])
            view = views[(epoch + chunk) % len(views)]
            chunks.append(np.stack([np.full_like(rows, source_index), rows, np.full_like(rows, view)], axis=1))
    shuffled = [chunks[c] for c in random.permutation(len(chunks))]
    buffers = [
        np.concatenate(shuffled[start : start + SHUFFLE_CHUNKS]) for start in range(0, len(shuffled), SHUFFLE_CHUNKS)
    ]
    return np.concatenate([buffer[random.permutation(len(buffer))] for buffer in buffers])


class Loader:
    """Loads batches by step number, and keeps the images and the chunks of targets that it read last in memory.

    Targets come from the sources' stores, in the view that the step shows. Targets of the teachers `online` come from running them
    on the regions of the crops. With a `batch_slice` only these people of each batch are loaded; the random draws are the same as
    for the whole batch.
    """

    def __init__(
        self,
        sources: list[TrainingSource],
        spec: NetworkSpec,
        batch: int,
        jitter: CropJitter,
        seed: int,
        image_bytes: float,
        online: dict[str, OnlineTeacher] | None = None,
        batch_slice: slice = slice(None),
    ) -> None:
        self.sources, self.spec, self.batch, self.jitter, self.seed = sources, spec, batch, jitter, seed
        self.online, self.batch_slice = online or {}, batch_slice
        self.people = sum(int(source.people.use.sum()) for source in sources)
        area = float(np.mean([source.pixels for source in sources]))
        cached = functools.lru_cache(maxsize=int(max(64, image_bytes / (3 * area))))
        self._sizes = [dict(zip(s.people.image.tolist(), s.people.image_wh, strict=True)) for s in sources]
        self._image = cached(self._read_image)
        self._stored_crop = cached(self._read_crop)
        stores = sum(len(source.stores) for source in sources)
        self._chunk = functools.lru_cache(maxsize=max(1, 2 * SHUFFLE_CHUNKS * stores))(self._read_chunk)
        self._order = functools.lru_cache(maxsize=4)(functools.partial(epoch_order, sources, seed=seed))

    def load(self, step: int) -> LoadedBatch:
        """Load the batch of a step, counted from 0."""
        random = np.random.default_rng(np.random.SeedSequence([self.seed, JITTER, step]))
        return self.load_entries(self._entries(step), random, step)

    def load_entries(self, entries: np.ndarray, random: np.random.Generator, step: int = 0) -> LoadedBatch:
        """Load people given by source, row and view, int (B, 3), with jitter from `random`. The step tells which views are drawn."""
        flipped = random.random(len(entries)) < self.jitter.flip
        regions = self._regions(entries, random, step)
        entries, flipped, regions = entries[self.batch_slice], flipped[self.batch_slice], regions[self.batch_slice]
        affines = self.spec.input_from_image(regions)
        affines = np.where(flipped[:, None, None], compose(mirror_affine(self.spec.input_wh[0]), affines), affines)
        people = [self.sources[s].people for s, _, _ in entries]
        keypoints, labelled = self._labels(entries)
        teachers = list(dict.fromkeys(name for source in self.sources for name in source.stores))
        stored = {name: self._stored_targets(name, entries) for name in teachers}
        online = {name: self._online_targets(teacher, entries, regions) for name, teacher in self.online.items()}
        return LoadedBatch(
            crops=self._crops(entries, affines, self.spec.input_wh),
            input_from_image=affines,
            flipped=flipped,
            keypoints=keypoints,
            labelled=labelled,
            targets=stored | online,
            corrections={
                name: np.stack([self.sources[s].corrections[name][row] for s, row, _ in entries])
                for name in self.sources[0].corrections
            },
            people=[f"{self.sources[s].name} person {people[i].person[row]}" for i, (s, row, _) in enumerate(entries)],
        )

    def stream(self, first: int, stop: int, workers: int) -> Iterator[LoadedBatch]:
        """Yield the batches of steps first to stop - 1 in order, read ahead by `workers` threads."""
        ahead = 2 + 2 * workers
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(self.load, step) for step in range(first, min(first + ahead, stop))]
            for step in range(first, stop):
                if step + ahead < stop:
                    waiting.append(pool.submit(self.load, step + ahead))
                yield waiting.pop(0).result()

    def _entries(self, step: int) -> np.ndarray:
        """Return source, row and view of the people of a step, int (B, 3)."""
        kinds = (PLAIN, WEAK) if step >= self.jitter.weak_from else (PLAIN, STRONG, WEAK)
        entries = []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, index = divmod(position, self.people)
            entries.append(self._order(epoch, kinds)[index])
        return np.stack(entries)

    def _regions(self, entries: np.ndarray, random: np.random.Generator, step: int) -> Regions:
        """Return the region of the image that each person's crop shows, jitter included."""
        regions = [self._region(s, row, view, random, step) for s, row, view in entries]
        center, size = np.stack([r[0] for r in regions]), np.stack([r[1] for r in regions])
        rotation = np.array([r[2] for r in regions])
        count = len(entries)
        center = center + random.uniform(-1, 1, (count, 2)) * self.jitter.shift * size
        size = size * (1 + random.uniform(-1, 1, (count, 1)) * self.jitter.scale)
        return Regions(center, size, rotation)

    def _labels(self, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoints (B, K, 2) and whether they are labelled (B, K), in the order of the student's skeleton."""
        skeleton = self.spec.skeleton
        keypoints, labelled = np.zeros((len(entries), len(skeleton), 2)), np.zeros((len(entries), len(skeleton)), bool)
        for s, source in enumerate(self.sources):
            of_source = np.flatnonzero(entries[:, 0] == s)
            rows, people = entries[of_source, 1], source.people
            keypoints[of_source] = skeleton.arranged(people.keypoints[rows], people.skeleton)
            labelled[of_source] = skeleton.arranged(people.labelled[rows], people.skeleton)
        return keypoints, labelled

    def _crops(self, entries: np.ndarray, affines: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
        crops = []
        for (s, row, _), affine in zip(entries, affines, strict=True):
            pixels, pixels_from_image = self._pixels(s, row)
            input_from_pixels = affine if pixels_from_image is None else compose(affine, invert(pixels_from_image))
            crops.append(crop(pixels, input_from_pixels[None], wh))
        return np.concatenate(crops)

    def _pixels(self, source: int, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a person's image and None, or its stored crop and the crop's affine from the image."""
        people, crops = self.sources[source].people, self.sources[source].crops
        if crops is None:
            return self._image(source, people.image[row]), None
        return self._stored_crop(source, row), crops.crop_from_image[row]

    def _region(
        self, source: int, row: int, view: int, random: np.random.Generator, step: int
    ) -> tuple[np.ndarray, np.ndarray, float]:
        if self.jitter.fresh_rotation is not None:
            kind = WEAK if step >= self.jitter.weak_from else STRONG
            return draw_view(self.sources[source].people, row, kind, random, self.jitter.fresh_rotation)
        views = self.sources[source].views
        return views.center[row, view], views.size[row, view], float(views.rotation[row, view])

    def _stored_targets(self, teacher: str, entries: np.ndarray) -> TargetBlock:
        blocks = [self._chunk(s, teacher, row // PEOPLE_PER_CHUNK, view) for s, row, view in entries]
        rows = entries[:, 1] % PEOPLE_PER_CHUNK

        def stacked(name: str) -> np.ndarray:
            return np.stack([block.arrays[name][row] for block, row in zip(blocks, rows, strict=True)])

        return _block(blocks[0], stacked)

    def _online_targets(self, teacher: OnlineTeacher, entries: np.ndarray, regions: Regions) -> TargetBlock:
        """Run a teacher on the upright crops of the regions."""
        blocks, rows = [], []
        for source in np.unique(entries[:, 0]):
            of_source = np.flatnonzero(entries[:, 0] == source)
            people, shown = self.sources[source].people.rows(entries[of_source, 1]), regions[of_source]
            views = Views(people.person, (STRONG,), shown.center[:, None], shown.size[:, None], shown.rotation[:, None])
            crops = self._crops(entries[of_source], teacher.spec.input_from_image(shown), teacher.spec.input_wh)
            blocks.append(teacher.targets(people, views, crops))
            rows.append(of_source)
        order = np.argsort(np.concatenate(rows))
        return _block(blocks[0], lambda name: np.concatenate([block.arrays[name] for block in blocks])[order])

    def _read_image(self, source: int, image: str) -> np.ndarray:
        return read_image(safe_path(self.sources[source].images, image), self._sizes[source][image])

    def _read_crop(self, source: int, row: int) -> np.ndarray:
        store = self.sources[source].crops
        assert store is not None
        return decode_image(store.jpeg(row), f"{store.path}: row {row}", oriented=False)

    def _read_chunk(self, source: int, teacher: str, chunk: int, view: int) -> TargetBlock:
        store = self.sources[source].stores[teacher]
        return store.read(
            slice(chunk * PEOPLE_PER_CHUNK, min((chunk + 1) * PEOPLE_PER_CHUNK, store.layout.people)), int(view)
        )


def _block(like: TargetBlock, array: Callable[[str], np.ndarray]) -> TargetBlock:
    """Build a block with the levels that `like` has, from its arrays by name."""
    levels = {name: array(name) for name in like.levels}
    return TargetBlock(array("person"), levels, array("peak"), array("score"), array("image_from_target"))
