"""What a training step reads: people in shuffled order, each in a view, with the teachers' targets of it. Deterministic per step."""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache.crops import CropStore
from cache.targets import CHUNK, TargetStore
from pipeline.crops import crop
from pipeline.frames import Regions, compose, invert, mirror
from pipeline.people.people import People
from pipeline.people.pictures import decode, read_picture, safe_path
from pipeline.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.training.batch import LoadedBatch
from pipeline.views import PLAIN, STRONG, WEAK, Views, draw_view

ORDER, GEOMETRY = 1, 2
"""Streams of randomness: each concern draws from SeedSequence([seed, stream, ...])."""

BUFFER = 16
"""Chunks whose people are shuffled among each other; twice as many per teacher stay decoded."""


@dataclass(frozen=True)
class Source:
    """The training people of one dataset, with the targets the teachers have for them."""

    name: str
    images: Path
    people: People
    views: Views
    stores: dict[str, TargetStore]
    corrections: dict[str, np.ndarray] = field(default_factory=dict)
    """By teacher, float (N, K, 2): image pixels by which its keypoints are moved, see pipeline.calibration."""
    crops: CropStore | None = None
    """Where people are seen instead of in the pictures; it shows all that the views do."""

    @property
    def pixels(self) -> float:
        """Of what is decoded for a person, on average."""
        wh = self.people.image_wh if self.crops is None else self.crops.wh[self.people.use]
        return float(wh.astype(np.float64).prod(axis=1).mean())


@dataclass(frozen=True)
class Online:
    """A teacher that looks at every crop while the student trains."""

    spec: NetworkSpec
    look: Callable[[People, Views, np.ndarray], TargetBlock]
    """Targets of people in one view each, of their crops uint8 (N, h, w, 3)."""


@dataclass(frozen=True)
class Geometry:
    """Changes of the crop on top of a view."""

    fresh: float | None
    """Draw a new view each time, turned up to so many degrees, instead of replaying a stored one."""
    settle: int
    """From this step on only plain and weak views."""
    scale: float
    shift: float
    """Largest change, as a share of the region's size."""
    flip: float
    """Probability."""


def epoch_order(sources: list[Source], epoch: int, kinds: tuple[str, ...], seed: int) -> np.ndarray:
    """Int (M, 3): source, row and view of every person in use, once. Chunk c shows view (epoch + c) mod V of those of `kinds`."""
    random = np.random.default_rng(np.random.SeedSequence([seed, ORDER, epoch]))
    chunks = []
    for source_index, source in enumerate(sources):
        views = [v for v, kind in enumerate(source.views.kinds) if kind in kinds]
        for chunk, start in enumerate(range(0, len(source.people), CHUNK)):
            rows = start + np.flatnonzero(source.people.use[start : start + CHUNK])
            view = views[(epoch + chunk) % len(views)]
            chunks.append(np.stack([np.full_like(rows, source_index), rows, np.full_like(rows, view)], axis=1))
    shuffled = [chunks[c] for c in random.permutation(len(chunks))]
    buffers = [np.concatenate(shuffled[start : start + BUFFER]) for start in range(0, len(shuffled), BUFFER)]
    return np.concatenate([buffer[random.permutation(len(buffer))] for buffer in buffers])


class Loader:
    """Batches by step number. Pictures and chunks of targets it read last stay in memory.

    Targets come from the sources' stores, in the view that was drawn for the step; those of the teachers `online` from running
    them on the very crops' regions. With a `part` only those of a batch are loaded, as they would be among all.
    """

    def __init__(
        self,
        sources: list[Source],
        spec: NetworkSpec,
        batch: int,
        geometry: Geometry,
        seed: int,
        picture_bytes: float,
        online: dict[str, Online] | None = None,
        part: slice = slice(None),
    ) -> None:
        self.sources, self.spec, self.batch, self.geometry, self.seed = sources, spec, batch, geometry, seed
        self.online, self.part = online or {}, part
        self.people = sum(int(source.people.use.sum()) for source in sources)
        area = float(np.mean([source.pixels for source in sources]))
        kept = functools.lru_cache(maxsize=int(max(64, picture_bytes / (3 * area))))
        self._sizes = [dict(zip(s.people.image.tolist(), s.people.image_wh, strict=True)) for s in sources]
        self._picture = kept(self._read_picture)
        self._decoded = kept(self._decode)
        teachers = sum(len(source.stores) for source in sources)
        self._chunk = functools.lru_cache(maxsize=max(1, 2 * BUFFER * teachers))(self._read_chunk)
        self._order = functools.lru_cache(maxsize=4)(functools.partial(epoch_order, sources, seed=seed))

    def load(self, step: int) -> LoadedBatch:
        """The batch of that step, counted from 0."""
        entries = self._entries(step)
        random = np.random.default_rng(np.random.SeedSequence([self.seed, GEOMETRY, step]))
        flipped = random.random(len(entries)) < self.geometry.flip
        regions = self._regions(entries, random, step)
        entries, flipped, regions = entries[self.part], flipped[self.part], regions[self.part]
        affines = self.spec.input_from_image(regions)
        affines = np.where(flipped[:, None, None], compose(mirror(self.spec.input_wh[0]), affines), affines)
        people = [self.sources[s].people for s, _, _ in entries]
        keypoints, labelled = self._labels(entries)
        teachers = list(dict.fromkeys(name for source in self.sources for name in source.stores))
        targets = {name: self._targets(name, entries) for name in teachers}
        return LoadedBatch(
            crops=self._crops(entries, affines, self.spec.input_wh),
            input_from_image=affines,
            flipped=flipped,
            keypoints=keypoints,
            labelled=labelled,
            targets=targets
            | {name: self._looked_at(teacher, entries, regions) for name, teacher in self.online.items()},
            corrections={
                name: np.stack([self.sources[s].corrections[name][row] for s, row, _ in entries])
                for name in self.sources[0].corrections
            },
            people=[f"{self.sources[s].name} person {people[i].person[row]}" for i, (s, row, _) in enumerate(entries)],
        )

    def stream(self, first: int, stop: int, workers: int) -> Iterator[LoadedBatch]:
        """Batches first..stop-1 in order, read ahead in threads."""
        ahead = 2 + 2 * workers
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(self.load, step) for step in range(first, min(first + ahead, stop))]
            for step in range(first, stop):
                if step + ahead < stop:
                    waiting.append(pool.submit(self.load, step + ahead))
                yield waiting.pop(0).result()

    def _entries(self, step: int) -> np.ndarray:
        kinds = (PLAIN, WEAK) if step >= self.geometry.settle else (PLAIN, STRONG, WEAK)
        picked = []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, at = divmod(position, self.people)
            picked.append(self._order(epoch, kinds)[at])
        return np.stack(picked)

    def _regions(self, entries: np.ndarray, random: np.random.Generator, step: int) -> Regions:
        """What each person's crop shows, jitter included."""
        regions = [self._region(s, row, view, random, step) for s, row, view in entries]
        center, size = np.stack([r[0] for r in regions]), np.stack([r[1] for r in regions])
        rotation = np.array([r[2] for r in regions])
        count = len(entries)
        center = center + random.uniform(-1, 1, (count, 2)) * self.geometry.shift * size
        size = size * (1 + random.uniform(-1, 1, (count, 1)) * self.geometry.scale)
        return Regions(center, size, rotation)

    def _labels(self, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (B, K, 2) and which are labelled (B, K), in the student's order."""
        skeleton = self.spec.skeleton
        keypoints, labelled = np.zeros((len(entries), len(skeleton), 2)), np.zeros((len(entries), len(skeleton)), bool)
        for s, source in enumerate(self.sources):
            at = np.flatnonzero(entries[:, 0] == s)
            rows, people = entries[at, 1], source.people
            keypoints[at] = skeleton.arranged(people.keypoints[rows], people.skeleton)
            labelled[at] = skeleton.arranged(people.labelled[rows], people.skeleton)
        return keypoints, labelled

    def _crops(self, entries: np.ndarray, affines: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
        crops = []
        for (s, row, _), affine in zip(entries, affines, strict=True):
            pixels, pixels_from_image = self._pixels(s, row)
            input_from_pixels = affine if pixels_from_image is None else compose(affine, invert(pixels_from_image))
            crops.append(crop(pixels, input_from_pixels[None], wh))
        return np.concatenate(crops)

    def _pixels(self, source: int, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A person's picture, or crop with its affine from the picture."""
        there = self.sources[source]
        if there.crops is None:
            return self._picture(source, there.people.image[row]), None
        return self._decoded(source, row), there.crops.crop_from_image[row]

    def _region(
        self, source: int, row: int, view: int, random: np.random.Generator, step: int
    ) -> tuple[np.ndarray, np.ndarray, float]:
        if self.geometry.fresh is not None:
            kind = WEAK if step >= self.geometry.settle else STRONG
            return draw_view(self.sources[source].people, row, kind, random, self.geometry.fresh)
        views = self.sources[source].views
        return views.center[row, view], views.size[row, view], float(views.rotation[row, view])

    def _targets(self, teacher: str, entries: np.ndarray) -> TargetBlock:
        blocks = [self._chunk(s, teacher, row // CHUNK, view) for s, row, view in entries]
        at = entries[:, 1] % CHUNK

        def gathered(name: str) -> np.ndarray:
            return np.stack([getattr(block, name)[i] for block, i in zip(blocks, at, strict=True)])

        levels = {
            name: np.stack([block.levels[name][i] for block, i in zip(blocks, at, strict=True)])
            for name in blocks[0].levels
        }
        person, *small = (gathered(name) for name in ("person", "peak", "score", "image_from_target"))
        return TargetBlock(person, levels, *small)

    def _looked_at(self, teacher: Online, entries: np.ndarray, regions: Regions) -> TargetBlock:
        """A teacher's targets of the regions, upright."""
        parts, order = [], []
        for source in np.unique(entries[:, 0]):
            at = np.flatnonzero(entries[:, 0] == source)
            people, there = self.sources[source].people.rows(entries[at, 1]), regions[at]
            views = Views(people.person, (STRONG,), there.center[:, None], there.size[:, None], there.rotation[:, None])
            crops = self._crops(entries[at], teacher.spec.input_from_image(there), teacher.spec.input_wh)
            parts.append(teacher.look(people, views, crops))
            order.append(at)
        return _joined(parts, np.argsort(np.concatenate(order)))

    def _read_picture(self, source: int, image: str) -> np.ndarray:
        there = self.sources[source]
        return read_picture(safe_path(there.images, image), self._sizes[source][image])

    def _decode(self, source: int, row: int) -> np.ndarray:
        store = self.sources[source].crops
        assert store is not None
        return decode(store.jpeg(row), f"{store.path}: row {row}", oriented=False)

    def _read_chunk(self, source: int, teacher: str, chunk: int, view: int) -> TargetBlock:
        store = self.sources[source].stores[teacher]
        return store.read(slice(chunk * CHUNK, min((chunk + 1) * CHUNK, store.layout.people)), int(view))


def _joined(parts: list[TargetBlock], order: np.ndarray) -> TargetBlock:
    def joined(values: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(values)[order]

    return TargetBlock(
        joined([part.person for part in parts]),
        {name: joined([part.levels[name] for part in parts]) for name in parts[0].levels},
        joined([part.peak for part in parts]),
        joined([part.score for part in parts]),
        joined([part.image_from_target for part in parts]),
    )
