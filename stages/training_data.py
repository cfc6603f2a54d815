"""What a training step reads: people in shuffled order, each in a view, with the stores' targets of that view. Deterministic per step."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.layout import CHUNK
from cache.reader import TargetStore
from pipeline.crops import crop
from pipeline.frames import Regions, compose, mirror
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.training.batch import LoadedBatch
from pipeline.views import PLAIN, STRONG, WEAK, Views, draw_view

ORDER, GEOMETRY = 1, 2
"""Streams of randomness: each concern draws from SeedSequence([seed, stream, ...])."""

BUFFER = 64
"""Chunks whose people are shuffled among each other; as many per teacher stay decoded."""


@dataclass(frozen=True)
class Source:
    """The training people of one dataset, with the targets the teachers have for them."""

    name: str
    images: Path
    people: People
    views: Views
    stores: dict[str, TargetStore]


@dataclass(frozen=True)
class Geometry:
    """Changes of the crop on top of a view."""

    fresh: float | None
    """Draw a new view each time, turned up to so many degrees, instead of replaying a stored one: only without teachers."""
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
    """Batches by step number. Pictures and chunks of targets it read last stay in memory."""

    def __init__(
        self, sources: list[Source], spec: NetworkSpec, batch: int, geometry: Geometry, seed: int, picture_bytes: float
    ) -> None:
        self.sources, self.spec, self.batch, self.geometry, self.seed = sources, spec, batch, geometry, seed
        self.people = sum(int(source.people.use.sum()) for source in sources)
        area = np.mean([source.people.image_wh.astype(np.float64).prod(axis=1).mean() for source in sources])
        self._sizes = [dict(zip(s.people.image.tolist(), s.people.image_wh, strict=True)) for s in sources]
        self._picture = functools.lru_cache(maxsize=int(max(64, picture_bytes / (3 * area))))(self._read_picture)
        teachers = sum(len(source.stores) for source in sources)
        self._chunk = functools.lru_cache(maxsize=max(1, 2 * BUFFER * teachers))(self._read_chunk)
        self._order = functools.lru_cache(maxsize=4)(functools.partial(epoch_order, sources, seed=seed))

    def load(self, step: int) -> LoadedBatch:
        """The batch of that step, counted from 0."""
        entries = self._entries(step)
        random = np.random.default_rng(np.random.SeedSequence([self.seed, GEOMETRY, step]))
        flipped = random.random(len(entries)) < self.geometry.flip
        affines = self._affines(entries, flipped, random, step)
        people = [self.sources[s].people for s, _, _ in entries]
        mappings = [self.spec.skeleton.positions_in(source.people.skeleton) for source in self.sources]
        keypoints = np.stack([people[i].keypoints[row, mappings[s]] for i, (s, row, _) in enumerate(entries)])
        labelled = np.stack(
            [people[i].labelled[row, mappings[s]] & (mappings[s] >= 0) for i, (s, row, _) in enumerate(entries)]
        )
        wh = self.spec.input_wh
        crops = [
            crop(self._picture(s, people[i].image[row]), affines[i : i + 1], wh)
            for i, (s, row, _) in enumerate(entries)
        ]
        teachers = list(dict.fromkeys(name for source in self.sources for name in source.stores))
        return LoadedBatch(
            crops=np.concatenate(crops),
            input_from_image=affines,
            flipped=flipped,
            keypoints=keypoints,
            labelled=labelled,
            targets={name: self._targets(name, entries) for name in teachers},
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

    def _affines(self, entries: np.ndarray, flipped: np.ndarray, random: np.random.Generator, step: int) -> np.ndarray:
        regions = [self._region(s, row, view, random, step) for s, row, view in entries]
        center, size = np.stack([r[0] for r in regions]), np.stack([r[1] for r in regions])
        rotation = np.array([r[2] for r in regions])
        count = len(entries)
        center = center + random.uniform(-1, 1, (count, 2)) * self.geometry.shift * size
        size = size * (1 + random.uniform(-1, 1, (count, 1)) * self.geometry.scale)
        affines = self.spec.input_from_image(Regions(center, size, rotation))
        return np.where(flipped[:, None, None], compose(mirror(self.spec.input_wh[0]), affines), affines)

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

    def _read_picture(self, source: int, image: str) -> np.ndarray:
        there = self.sources[source]
        return read_picture(safe_path(there.images, image), self._sizes[source][image])

    def _read_chunk(self, source: int, teacher: str, chunk: int, view: int) -> TargetBlock:
        store = self.sources[source].stores[teacher]
        return store.read(slice(chunk * CHUNK, min((chunk + 1) * CHUNK, store.layout.people)), int(view))
