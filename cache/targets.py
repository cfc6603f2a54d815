"""Target stores: what a teacher said of every person in every view. Their arrays, and reading them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numcodecs.zstd import Zstd

from cache.layout import ZSTD_LEVEL, Array, Layout
from cache.place import Where
from cache.reader import Store, open_store
from cache.shards import read_chunk
from pipeline.targets.block import TargetBlock

PEOPLE_IN_MEMORY = 2**17
"""Whose small arrays are kept, a boundary at a time: about 1 kB each at eight views."""

CHUNK = 64
"""People of one view that are compressed, and read, as one."""
SMALLEST_CHUNK = 16
"""Divides every boundary, which CHUNK need not."""

UNITS = {
    "heatmaps": "map over its own peak, 0-255; in seven steps below 128 and zero below 5 but around the peak",
    "x": "SimCC: distribution over bins from left to right, over its own peak, 0-255, in steps as maps are",
    "y": "SimCC: the same from top to bottom",
}


@dataclass(frozen=True)
class TargetLayout(Layout):
    """Sizes of a target store. Targets are maps of `height` x `width` pixels or, where they are `separate`, so many bins of y and of x."""

    KIND: ClassVar[str] = "target store"
    FORMAT: ClassVar[str] = "pose-fusion targets"
    VERSION: ClassVar[int] = 3
    """Quantiser, codec, cropping and confidence are part of it too."""

    people: int
    views: int
    keypoints: int
    height: int
    width: int
    boundary: int = 128
    chunk: int = CHUNK
    separate: bool = False

    @property
    def description(self) -> str:
        what = f"{self.width} + {self.height} bins" if self.separate else f"{self.height} x {self.width} maps"
        return f"{self.people} people x {self.views} views x {self.keypoints} keypoints, {what}"

    @property
    def targets(self) -> dict[str, tuple[int, ...]]:
        """Names of the arrays of levels, and what one target of each is."""
        return {"x": (self.width,), "y": (self.height,)} if self.separate else {"heatmaps": (self.height, self.width)}

    @property
    def at_once(self) -> int:
        """People of a chunk: fewer than `chunk` where that does not divide a boundary."""
        return math.gcd(self.chunk, self.boundary)

    def arrays(self) -> dict[str, Array]:
        """Levels in chunks of one view; the rest is small."""
        of_each = (self.views, self.keypoints)
        levels = {
            name: Array("uint8", (*of_each, *tail), UNITS[name], (self.at_once, 1, self.keypoints, *tail))
            for name, tail in self.targets.items()
        }
        return {
            **levels,
            "peak": Array("float16", of_each, "what heatmaps / 255 is multiplied by; SimCC: peak of x times peak of y"),
            "score": Array("float16", of_each, "confidence, 0-1"),
            "image_from_target": Array(
                "float64",
                (self.views, 2, 3),
                "2 x 3 affine, target pixels to image pixels, centre of the first pixel = (0, 0)",
            ),
            "person": Array("int64", (), "id in the people table"),
            "done": Array("bool", (), "true once the data of its boundary is on disk"),
        }


def compressed_bytes(levels: dict[str, np.ndarray]) -> int:
    """Bytes that levels uint8 (P, V, ...) take in a store, to size a disk by."""
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
    def path(self) -> Where:
        return self.store.path

    @property
    def layout(self) -> TargetLayout:
        return self.store.layout

    @property
    def fingerprint(self) -> dict[str, Any]:
        return self.store.fingerprint

    def read(self, rows: slice, view: int | None = None) -> TargetBlock:
        """Targets of a run of people: of one view (V = 1 in the block) or of all. A chunk of one view is read fastest, and is read-only."""
        views = slice(None) if view is None else slice(view, view + 1)
        whole = rows.start % self.layout.at_once == 0 and rows.stop == min(
            rows.start + self.layout.at_once, self.layout.people
        )
        if isinstance(self.path, Path) and view is not None and whole:
            levels = {name: self._chunk(self.path, name, rows, view) for name in self.layout.targets}
        else:
            levels = {name: self.store.values(name, (rows, views)) for name in self.layout.targets}
        person, *small = self._light(rows)
        return TargetBlock(person, levels, *(values[:, views] for values in small))

    def _chunk(self, path: Path, name: str, rows: slice, view: int) -> np.ndarray:
        """Levels (P, 1, K, ...) of the people of one chunk."""
        layout, tail = self.layout, self.layout.targets[name]
        boundary, inside = divmod(rows.start, layout.boundary)
        shard = path.joinpath(name, "c", str(boundary), *"00", *("0" for _ in tail))
        chunks, number = layout.boundary // layout.at_once, inside // layout.at_once
        with self.store.reading(rows):
            decoded = read_chunk(shard, chunks * layout.views, number * layout.views + view)
            levels = np.frombuffer(decoded, np.uint8).reshape(layout.at_once, 1, layout.keypoints, *tail)
        return levels[: rows.stop - rows.start]

    def _light(self, rows: slice) -> list[np.ndarray]:
        """The arrays beside the levels; a boundary that was read lately is still in memory."""
        boundaries = range(rows.start // self.layout.boundary, (rows.stop - 1) // self.layout.boundary + 1)
        parts = [self._boundary(boundary) for boundary in boundaries]
        first = self.layout.rows(boundaries[0]).start
        inside = slice(rows.start - first, rows.stop - first)
        return [
            np.concatenate(values)[inside] if len(values) > 1 else values[0][inside]
            for values in zip(*parts, strict=True)
        ]

    @functools.cached_property
    def _boundary(self) -> Callable[[int], tuple[np.ndarray, ...]]:
        return functools.lru_cache(maxsize=max(1, PEOPLE_IN_MEMORY // self.layout.boundary))(self._read_boundary)

    def _read_boundary(self, boundary: int) -> tuple[np.ndarray, ...]:
        rows = self.layout.rows(boundary)
        return tuple(self.store.values(name, rows) for name in ("person", "peak", "score", "image_from_target"))


def open_targets(path: Where, again: str, person: np.ndarray | None = None) -> TargetStore:
    """Open a complete target store, see `cache.reader.open_store`."""
    return TargetStore(open_store(path, TargetLayout, again, person))
