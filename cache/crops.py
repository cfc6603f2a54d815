"""Crop stores: for every person, the region of the image that all of its views show, as a JPEG. Their arrays, and how to read them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cache.backend import StoreLocation
from cache.layout import Array, Layout
from cache.reader import Store, open_store

MOST_BYTES = 2**18
"""Size of a row of JPEG bytes, so the largest size of a JPEG. The zeros after a shorter one compress to almost nothing."""

CROPS_PER_CHUNK = 16
"""People whose crops are read at once."""

CACHED_CHUNKS = 256
"""Chunks that stay in memory."""


@dataclass(frozen=True)
class CropLayout(Layout):
    """The sizes of a crop store. The texts in `arrays` are part of its stored bytes; they call a shard a boundary."""

    KIND: ClassVar[str] = "crop store"
    FORMAT: ClassVar[str] = "pose-fusion crops"
    VERSION: ClassVar[int] = 1

    people: int
    people_per_shard: int = 128
    most_bytes: int = MOST_BYTES

    @property
    def description(self) -> str:
        return f"crops of {self.people} people"

    def arrays(self) -> dict[str, Array]:
        """Return the arrays: JPEGs in chunks of people, and small ones. People without a visible crop have zeros."""
        return {
            "jpeg": Array(
                "uint8", (self.most_bytes,), "bytes of a JPEG, then zeros", (CROPS_PER_CHUNK, self.most_bytes)
            ),
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
    """Width and height of each person's crop in pixels, int32 (N, 2)."""
    crop_from_image: np.ndarray
    """Affines from image pixels to crop pixels, float64 (N, 2, 3)."""

    @property
    def path(self) -> StoreLocation:
        return self.store.path

    @property
    def fingerprint(self) -> dict[str, Any]:
        return self.store.fingerprint

    def jpeg(self, row: int) -> bytes:
        """Return a person's crop. It is fast if a neighbour in the table was read lately."""
        return self._chunk(row // CROPS_PER_CHUNK)[row % CROPS_PER_CHUNK]

    @functools.cached_property
    def _chunk(self) -> Callable[[int], list[bytes]]:
        return functools.lru_cache(maxsize=CACHED_CHUNKS)(self._read_chunk)

    def _read_chunk(self, chunk: int) -> list[bytes]:
        rows = slice(chunk * CROPS_PER_CHUNK, min((chunk + 1) * CROPS_PER_CHUNK, self.store.layout.people))
        jpegs, lengths = self.store.values("jpeg", rows), self._lengths[rows]
        return [jpeg[:length].tobytes() for jpeg, length in zip(jpegs, lengths, strict=True)]

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return self.store.values("length")


def open_crops(path: Path, rebuild_command: str, person: np.ndarray | None = None) -> CropStore:
    """Open a complete crop store, see `cache.reader.open_store`."""
    store = open_store(path, CropLayout, rebuild_command, person)
    return CropStore(store, store.values("wh"), store.values("crop_from_image"))
