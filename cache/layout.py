"""What all kinds of stores have in common: arrays with one row per person, cut into shards, and their exact metadata. Writes no data."""

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

ZSTD_LEVEL = 6

STORED_NAMES = {"people_per_shard": "boundary"}
"""Fields of a layout that have another name in stored fingerprints: the format calls a shard a boundary."""


@dataclass(frozen=True)
class Array:
    """One array of a store."""

    dtype: str
    tail: tuple[int, ...]
    """The shape after the people axis."""
    units: str
    """What the values mean, for the metadata."""
    chunk: tuple[int, ...] | None = None
    """Shape of the part that is compressed and read as one, people first; a shard holds several. None: the whole shard is one chunk."""


class Layout(ABC):
    """The sizes of a store of `people` rows. Rows are written, locked and resumed by shards. Kinds of stores are frozen dataclasses."""

    KIND: ClassVar[str]
    """The name of the kind in messages."""
    FORMAT: ClassVar[str]
    """The name of the kind in stored metadata."""
    VERSION: ClassVar[int]
    """Version of the format. Raise it with any change that gives other bytes for the same input."""

    people: int
    people_per_shard: int

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name. `person` holds the ids; `done`, the last one, is true in rows whose data is on disk."""

    @property
    @abstractmethod
    def description(self) -> str:
        """A short description of the content."""

    @property
    def shards(self) -> int:
        """The number of shards."""
        return math.ceil(self.people / self.people_per_shard)

    @property
    def files(self) -> list[str]:
        """All data files of a finished store, relative to it."""
        return [file for shard in range(self.shards) for file in self.shard_files(shard)]

    def rows(self, shard: int) -> slice:
        """Return the rows of one shard."""
        return slice(shard * self.people_per_shard, min((shard + 1) * self.people_per_shard, self.people))

    def shard_files(self, shard: int) -> list[str]:
        """Return the files of one shard, one per array, relative to the store."""
        return ["/".join([name, "c", str(shard), *("0" for _ in a.tail)]) for name, a in self.arrays().items()]

    def fingerprint(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return what identifies a store's content: format, sizes, and the `inputs` that it is made from. All values are JSON."""
        sizes = {STORED_NAMES.get(name, name): value for name, value in vars(self).items()}
        return {"format": self.FORMAT, "version": self.VERSION, "layout": sizes, **inputs}

    @classmethod
    def from_fingerprint(cls, fingerprint: dict[str, Any]) -> Self:
        """Return the layout that a fingerprint holds; KeyError or TypeError if it holds none of this kind."""
        fields = {stored: name for name, stored in STORED_NAMES.items()}
        return cls(**{fields.get(name, name): value for name, value in fingerprint["layout"].items()})


def metadata_documents(layout: Layout, fingerprint: dict[str, Any]) -> dict[str, bytes]:
    """Return the exact bytes of every `zarr.json` that a store of this layout and fingerprint must hold, by relative path."""
    documents: dict[str, Any] = {}
    memory = MemoryStore(documents)
    arrays = layout.arrays()
    units = {name: array.units for name, array in arrays.items()}
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.create_group(memory, attributes={"units": units, "fingerprint": fingerprint})
        for name, array in arrays.items():
            shard = (layout.people_per_shard, *array.tail)
            group.create_array(
                name,
                shape=(layout.people, *array.tail),
                dtype=array.dtype,
                chunks=array.chunk or shard,
                shards=shard if array.chunk else None,
                compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
                fill_value=0,
            )
    return {key: value.to_bytes() for key, value in documents.items()}


def canonical(value: object) -> bytes:
    """Return JSON bytes that depend on the value alone, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
