"""What every store is made of: arrays of one row a person, cut at common boundaries, and their exact metadata. Writes no data."""

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

ZSTD_LEVEL = 6


@dataclass(frozen=True)
class Array:
    """One array of a store."""

    dtype: str
    tail: tuple[int, ...]
    """Its shape behind the people axis."""
    units: str
    chunk: tuple[int, ...] | None = None
    """People and what follows that are compressed, and read, as one, several to a file; None: a whole boundary."""


class Layout(ABC):
    """A store of `people` rows, of which `boundary` are written, locked and resumed as one. Kinds of stores are frozen dataclasses."""

    KIND: ClassVar[str]
    """What messages call it."""
    FORMAT: ClassVar[str]
    VERSION: ClassVar[int]
    """Of the stored bytes: whatever changes them for the same input raises it."""

    people: int
    boundary: int

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Name to array; among them `person`, the ids, and last `done`, which says of each row that its data is on disk."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What it holds, in a few words."""

    @property
    def boundaries(self) -> int:
        return math.ceil(self.people / self.boundary)

    @property
    def files(self) -> list[str]:
        """Every data file of a finished store, relative to it."""
        return [file for boundary in range(self.boundaries) for file in self.shard_files(boundary)]

    def rows(self, boundary: int) -> slice:
        """The people rows of one boundary."""
        return slice(boundary * self.boundary, min((boundary + 1) * self.boundary, self.people))

    def shard_files(self, boundary: int) -> list[str]:
        """The files, relative to the store, that hold a boundary."""
        return ["/".join([name, "c", str(boundary), *("0" for _ in a.tail)]) for name, a in self.arrays().items()]

    def fingerprint(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What makes two stores the same: format, sizes, and the `inputs` they were made from (all JSON values)."""
        return {"format": self.FORMAT, "version": self.VERSION, "layout": dict(vars(self)), **inputs}


def metadata_documents(layout: Layout, fingerprint: dict[str, Any]) -> dict[str, bytes]:
    """Relative path to exact bytes of every `zarr.json`: what a store of this layout and fingerprint must hold."""
    documents: dict[str, Any] = {}
    memory = MemoryStore(documents)
    arrays = layout.arrays()
    units = {name: array.units for name, array in arrays.items()}
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.create_group(memory, attributes={"units": units, "fingerprint": fingerprint})
        for name, array in arrays.items():
            whole = (layout.boundary, *array.tail)
            group.create_array(
                name,
                shape=(layout.people, *array.tail),
                dtype=array.dtype,
                chunks=array.chunk or whole,
                shards=whole if array.chunk else None,
                compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
                fill_value=0,
            )
    return {key: value.to_bytes() for key, value in documents.items()}


def canonical(value: object) -> bytes:
    """JSON bytes that depend on the value alone, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
