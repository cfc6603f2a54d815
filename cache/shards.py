"""One chunk straight out of a shard file. Reads only; Zarr, which takes twice the codec's time on top, writes them and reads the rest.

A shard is its chunks, each compressed and followed by its crc32c, then an index of offsets and lengths in the order of the chunks, and
the index's own crc32c (Zarr 3, sharding codec).
"""

import os
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

CHECKSUM = 4
ENTRY = 16
"""Bytes of the index for each chunk: offset and length, uint64."""
MISSING = 2**64 - 1
"""Offset and length of a chunk that was never written."""


def read_chunk(path: Path, chunks: int, number: int) -> bytes:
    """What chunk `number` of the `chunks` of a shard decodes to; OSError, ValueError or RuntimeError where it is damaged or missing."""
    with path.open("rb") as shard:
        shard.seek(-(ENTRY * chunks + CHECKSUM), os.SEEK_END)
        offset, length = np.frombuffer(checked(shard.read()), "<u8").reshape(chunks, 2)[number].tolist()
        if length == MISSING:
            raise ValueError("a chunk is missing")
        shard.seek(offset)
        decoded: bytes = Zstd().decode(checked(shard.read(length)))
        return decoded


def checked(data: bytes) -> bytes:
    """Without the checksum at the end; ValueError where it is wrong."""
    content, checksum = data[:-CHECKSUM], int.from_bytes(data[-CHECKSUM:], "little")
    if google_crc32c.value(content) != checksum:
        raise ValueError("the checksum of a chunk or index is wrong")
    return content
