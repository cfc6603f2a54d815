"""Crop stores: of every person the part of the picture that all views show, as a JPEG. Their arrays, and reading them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cache.layout import Array, Layout
from cache.place import Where
from cache.reader import Store, open_store

MOST_BYTES = 2**18
"""Of a JPEG. Rows are as long as that; the zeros behind a shorter one take next to nothing in the file."""

CHUNK = 16
"""People that are read as one."""

CHUNKS_IN_MEMORY = 256


@dataclass(frozen=True)
class CropLayout(Layout):
    """Sizes of a crop store."""

    KIND: ClassVar[str] = "crop store"
    FORMAT: ClassVar[str] = "pose-fusion crops"
    VERSION: ClassVar[int] = 1

    people: int
    boundary: int = 128
    most_bytes: int = MOST_BYTES

    @property
    def description(self) -> str:
        return f"crops of {self.people} people"

    def arrays(self) -> dict[str, Array]:
        """JPEGs in chunks of people; the rest is small. Where nobody is to be seen, there are zeros."""
        return {
            "jpeg": Array("uint8", (self.most_bytes,), "bytes of a JPEG, then zeros", (CHUNK, self.most_bytes)),
            "length": Array("int32", (), "bytes of the JPEG"),
            "wh": Array("int32", (2,), "width and height of the crop, pixels"),
            "crop_from_image": Array(
                "float64", (2, 3), "2 x 3 affine, image pixels to crop pixels, centre of the first pixel = (0, 0)"
            ),
            "person": Array("int64", (), "id in the people table"),
            "done": Array("bool", (), "true once the data of its boundary is on disk"),
        }


@dataclass(frozen=True, eq=False)
class CropStore:
    """An open, complete crop store."""

    store: Store[CropLayout]
    wh: np.ndarray
    """int32 (N, 2): width and height of everybody's crop."""
    crop_from_image: np.ndarray
    """float64 (N, 2, 3)."""

    @property
    def path(self) -> Where:
        return self.store.path

    @property
    def fingerprint(self) -> dict[str, Any]:
        return self.store.fingerprint

    def jpeg(self, row: int) -> bytes:
        """A person's crop; fast for people whose neighbours in the table were asked for lately."""
        return self._chunk(row // CHUNK)[row % CHUNK]

    @functools.cached_property
    def _chunk(self) -> Callable[[int], list[bytes]]:
        return functools.lru_cache(maxsize=CHUNKS_IN_MEMORY)(self._read_chunk)

    def _read_chunk(self, chunk: int) -> list[bytes]:
        rows = slice(chunk * CHUNK, min((chunk + 1) * CHUNK, self.store.layout.people))
        jpeg, length = self.store.values("jpeg", rows), self._lengths[rows]
        return [each[:count].tobytes() for each, count in zip(jpeg, length, strict=True)]

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return self.store.values("length")


def open_crops(path: Path, again: str, person: np.ndarray | None = None) -> CropStore:
    """Open a complete crop store, see `cache.reader.open_store`."""
    store = open_store(path, CropLayout, again, person)
    return CropStore(store, store.values("wh"), store.values("crop_from_image"))
