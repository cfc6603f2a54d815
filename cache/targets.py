"""Target stores: a teacher's output for every person in every view. Their arrays, and how to read them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numcodecs.zstd import Zstd

from cache.backend import StoreLocation
from cache.layout import ZSTD_LEVEL, Array, Layout
from cache.reader import Store, open_store
from cache.shards import read_chunk
from pipeline.targets.block import TargetBlock

CACHED_PEOPLE = 2**17
"""People whose small arrays stay in memory, by whole shards: about 1 kB each with eight views."""

PEOPLE_PER_CHUNK = 64
"""People of one view that are compressed and read as one."""
MIN_PEOPLE_PER_CHUNK = 16
"""It divides every shard, so no chunk is smaller. PEOPLE_PER_CHUNK need not divide a shard."""

UNITS = {
    "heatmaps": "map over its own peak, 0-255; in seven steps below 128 and zero below 5 but around the peak",
    "x": "SimCC: distribution over bins from left to right, over its own peak, 0-255, in steps as maps are",
    "y": "SimCC: the same from top to bottom",
}


@dataclass(frozen=True)
class TargetLayout(Layout):
    """The sizes of a target store. The texts in `arrays` are part of its stored bytes; they call a shard a boundary.

    Targets are maps of `height` x `width` pixels. If they are `separate`, they are `height` bins of y and `width` bins of x.
    """

    KIND: ClassVar[str] = "target store"
    FORMAT: ClassVar[str] = "pose-fusion targets"
    VERSION: ClassVar[int] = 3
    """A change of the quantiser, the codec, the cropping or the confidence raises it too."""

    people: int
    views: int
    keypoints: int
    height: int
    width: int
    people_per_shard: int = 128
    chunk: int = PEOPLE_PER_CHUNK
    separate: bool = False

    @property
    def description(self) -> str:
        what = f"{self.width} + {self.height} bins" if self.separate else f"{self.height} x {self.width} maps"
        return f"{self.people} people x {self.views} views x {self.keypoints} keypoints, {what}"

    @property
    def targets(self) -> dict[str, tuple[int, ...]]:
        """The arrays of levels: by name, the shape of one target."""
        return {"x": (self.width,), "y": (self.height,)} if self.separate else {"heatmaps": (self.height, self.width)}

    @property
    def people_per_chunk(self) -> int:
        """The number of people per chunk. It is smaller than `chunk` if that does not divide a shard."""
        return math.gcd(self.chunk, self.people_per_shard)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays: levels in chunks of one view, and small ones."""
        per_person = (self.views, self.keypoints)
        levels = {
            name: Array("uint8", (*per_person, *tail), UNITS[name], (self.people_per_chunk, 1, self.keypoints, *tail))
            for name, tail in self.targets.items()
        }
        return {
            **levels,
            "peak": Array(
                "float16", per_person, "what heatmaps / 255 is multiplied by; SimCC: peak of x times peak of y"
            ),
            "score": Array("float16", per_person, "confidence, 0-1"),
            "image_from_target": Array(
                "float64",
                (self.views, 2, 3),
                "2 x 3 affine, target pixels to image pixels, centre of the first pixel = (0, 0)",
            ),
            "person": Array("int64", (), "id in the people table"),
            "done": Array("bool", (), "true once the data of its boundary is on disk"),
        }


def compressed_bytes(levels: dict[str, np.ndarray]) -> int:
    """Return how many bytes levels uint8 (P, V, ...) take in a store, to estimate disk space."""
    codec = Zstd(level=ZSTD_LEVEL)
    return sum(
        len(codec.encode(np.ascontiguousarray(values[:, view])))
        for values in levels.values()
        for view in range(values.shape[1])
    )


@dataclass(frozen=True, eq=False)
class TargetStore:
    """An open, complete target store."""

    store: Store[TargetLayout]

    @property
    def path(self) -> StoreLocation:
        return self.store.path

    @property
    def layout(self) -> TargetLayout:
        return self.store.layout

    @property
    def fingerprint(self) -> dict[str, Any]:
        return self.store.fingerprint

    def read(self, rows: slice, view: int | None = None) -> TargetBlock:
        """Return the targets of consecutive people, in one view (V = 1 in the block) or in all.

        Rows that are exactly one chunk, in one view, are read fastest; their levels are read-only.
        """
        views = slice(None) if view is None else slice(view, view + 1)
        one_chunk = rows.start % self.layout.people_per_chunk == 0 and rows.stop == min(
            rows.start + self.layout.people_per_chunk, self.layout.people
        )
        if isinstance(self.path, Path) and view is not None and one_chunk:
            levels = {name: self._chunk(self.path, name, rows, view) for name in self.layout.targets}
        else:
            levels = {name: self.store.values(name, (rows, views)) for name in self.layout.targets}
        person, *small = self._small_arrays(rows)
        return TargetBlock(person, levels, *(values[:, views] for values in small))

    def _chunk(self, path: Path, name: str, rows: slice, view: int) -> np.ndarray:
        """Return the levels (P, 1, K, ...) of the people of one chunk."""
        layout, tail = self.layout, self.layout.targets[name]
        shard, inside = divmod(rows.start, layout.people_per_shard)
        file = path.joinpath(name, "c", str(shard), *"00", *("0" for _ in tail))
        chunks, number = layout.people_per_shard // layout.people_per_chunk, inside // layout.people_per_chunk
        with self.store.reading(rows):
            decoded = read_chunk(file, chunks * layout.views, number * layout.views + view)
            levels = np.frombuffer(decoded, np.uint8).reshape(layout.people_per_chunk, 1, layout.keypoints, *tail)
        return levels[: rows.stop - rows.start]

    def _small_arrays(self, rows: slice) -> list[np.ndarray]:
        """Return person, peak, score and affines of the rows. Shards that were read lately are still in memory."""
        shards = range(rows.start // self.layout.people_per_shard, (rows.stop - 1) // self.layout.people_per_shard + 1)
        parts = [self._shard(shard) for shard in shards]
        first = self.layout.rows(shards[0]).start
        inside = slice(rows.start - first, rows.stop - first)
        return [
            np.concatenate(values)[inside] if len(values) > 1 else values[0][inside]
            for values in zip(*parts, strict=True)
        ]

    @functools.cached_property
    def _shard(self) -> Callable[[int], tuple[np.ndarray, ...]]:
        return functools.lru_cache(maxsize=max(1, CACHED_PEOPLE // self.layout.people_per_shard))(self._read_shard)

    def _read_shard(self, shard: int) -> tuple[np.ndarray, ...]:
        rows = self.layout.rows(shard)
        return tuple(self.store.values(name, rows) for name in ("person", "peak", "score", "image_from_target"))


def open_targets(path: StoreLocation, rebuild_command: str, person: np.ndarray | None = None) -> TargetStore:
    """Open a complete target store, see `cache.reader.open_store`."""
    return TargetStore(open_store(path, TargetLayout, rebuild_command, person))
