"""The picture manifest: name, size and hash of the pictures a dataset part uses. Nothing is decoded here."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.people.parse import read_bytes
from pipeline.people.pictures import safe_path
from pipeline.people.table import numpy_column, read_parquet, write_parquet

SCHEMA = pa.schema([("name", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])


@dataclass(frozen=True)
class Manifest:
    """P pictures, sorted by name, each once."""

    name: np.ndarray
    """str (P,): relative to the picture folder."""
    bytes: np.ndarray
    """int64 (P,)."""
    sha256: np.ndarray
    """str (P,): hexadecimal."""


def picture_manifest(
    folder: str | os.PathLike[str],
    names: Iterable[str],
    workers: int = 8,
    advance: Callable[[], object] | None = None,
) -> Manifest:
    """Hash pictures in `workers` threads, calling `advance` here after each. UserError names a missing one."""

    def entry(name: str) -> tuple[int, str]:
        data = read_bytes(safe_path(folder, name))
        return len(data), hashlib.sha256(data).hexdigest()

    ordered = sorted({str(name) for name in names})
    found: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for one in pool.map(entry, ordered):
            found.append(one)
            if advance is not None:
                advance()
    finally:
        # Without this an error in the first picture would wait for all the others.
        pool.shutdown(cancel_futures=True)
    sizes, hashes = [size for size, _ in found], [digest for _, digest in found]
    return Manifest(np.array(ordered, np.str_), np.array(sizes, np.int64), np.array(hashes, np.str_))


def write_manifest(manifest: Manifest, path: str | os.PathLike[str]) -> None:
    """Written beside its place and renamed; equal manifests give equal bytes."""
    columns = [pa.array(manifest.name.tolist(), pa.string()), pa.array(manifest.bytes, pa.int64())]
    columns.append(pa.array(manifest.sha256.tolist(), pa.string()))
    write_parquet(pa.Table.from_arrays(columns, schema=SCHEMA), path)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """What `write_manifest` wrote; UserError where the file is missing or another kind of file."""
    table = read_parquet(path, "a picture manifest")
    if not table.schema.equals(SCHEMA) or any(column.null_count for column in table.columns):
        names = ", ".join(f"{f.name} {f.type}" for f in table.schema)
        wanted = ", ".join(f"{f.name} {f.type}" for f in SCHEMA)
        raise UserError(
            f"{path}: expected a picture manifest with {wanted}, found {names:.300}: run `pipeline prepare`"
        )
    name, sha256 = (np.array(table.column(c).to_pylist(), np.str_) for c in ("name", "sha256"))
    return Manifest(name, numpy_column(table.column("bytes"), table.num_rows), sha256)
