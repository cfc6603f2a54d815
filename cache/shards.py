"""Reads one chunk straight out of a shard file: Zarr needs twice the decompression time on top. Zarr does all other reads and all writes.

A shard file holds its chunks, each compressed and followed by its crc32c, then an index with offset and length of every chunk in
order, and the crc32c of the index (Zarr 3, sharding codec).
"""

import os
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

CHECKSUM_BYTES = 4
INDEX_ENTRY_BYTES = 16
"""Bytes of the index per chunk: offset and length, uint64."""
UNWRITTEN = 2**64 - 1
"""Offset and length of a chunk that was never written."""


def read_chunk(path: Path, chunks: int, number: int) -> bytes:
    """Return the decompressed chunk `number` of a shard of `chunks`; OSError, ValueError or RuntimeError if it is damaged or missing."""
    with path.open("rb") as shard:
        shard.seek(-(INDEX_ENTRY_BYTES * chunks + CHECKSUM_BYTES), os.SEEK_END)
        offset, length = np.frombuffer(without_checksum(shard.read()), "<u8").reshape(chunks, 2)[number].tolist()
        if length == UNWRITTEN:
            raise ValueError("a chunk is missing")
        shard.seek(offset)
        decoded: bytes = Zstd().decode(without_checksum(shard.read(length)))
        return decoded


def without_checksum(data: bytes) -> bytes:
    """Return the data before its crc32c; ValueError if the checksum is wrong."""
    content, checksum = data[:-CHECKSUM_BYTES], int.from_bytes(data[-CHECKSUM_BYTES:], "little")
    if google_crc32c.value(content) != checksum:
        raise ValueError("the checksum of a chunk or index is wrong")
    return content
