"""The people of a shard that a teacher has run on, kept in a file until their shard is written: a killed run goes on behind them."""

import hashlib
import io
import struct
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.layout import canonical
from pipeline.common.files import write_atomically
from pipeline.targets.block import TargetBlock

SECONDS = 60.0
"""Time between two writes of the file: a killed run loses about as much work, however long a shard takes."""

DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What NumPy raises on a file that is damaged."""


@dataclass(frozen=True)
class Unfinished:
    """What an earlier run has left of a shard, and where this run leaves it."""

    file: Path
    identity: str
    """Digest of the store's fingerprint and the shard's number, without which a file counts for nothing."""
    people: int = 0
    """The number of people in use, from the first, whose targets are there."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The first rows of the arrays of the shard's TargetBlock, up to the last of these people."""

    def fill(self, block: TargetBlock) -> None:
        """Write what there is into the first rows of the block."""
        for name, values in self.arrays.items():
            block.arrays[name][: len(values)] = values


def read_unfinished(store: Path, shard: int, fingerprint: dict[str, Any]) -> Unfinished:
    """Return what was left of a shard beside its store; nobody where there is no file, or one that is damaged or of something else."""
    file = store.with_name(f"{store.stem}.unfinished-{shard}.npz")
    identity = hashlib.sha256(canonical([fingerprint, shard])).hexdigest()
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}  # a zip archive: each is compared with its checksum
            if str(arrays.pop("identity")) == identity:
                return Unfinished(file, identity, int(arrays.pop("people")), arrays)
    except DAMAGE:
        pass
    return Unfinished(file, identity)


def remove_unfinished(store: Path) -> None:
    """Remove the files of all shards beside a store that is complete, and what a kill has left of one that was being written."""
    for file in store.parent.glob(f"{store.stem}.unfinished-*.npz*"):
        file.unlink(missing_ok=True)


class Keeper:
    """Writes the file of the shard that is being made, at most every SECONDS."""

    def __init__(self) -> None:
        self.written = time.monotonic()

    def keep(self, unfinished: Unfinished, block: TargetBlock, use: np.ndarray, last: int) -> None:
        """Keep a block whose people in use, bool (P,), are done up to the row `last`."""
        if time.monotonic() - self.written < SECONDS:
            return
        stream = io.BytesIO()
        rows = {name: values[: last + 1] for name, values in block.arrays.items()}
        np.savez(stream, identity=unfinished.identity, people=int(use[: last + 1].sum()), **rows)  # type: ignore[arg-type]
        write_atomically(unfinished.file, stream.getvalue())
        self.written = time.monotonic()
