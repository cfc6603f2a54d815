"""The image manifest: name, size and hash of the images that a split of a dataset uses. No image is decoded here."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.common.files import FilePath
from pipeline.people.images import safe_path
from pipeline.people.table import numpy_column, read_parquet, refuse_other_schema, write_parquet
from pipeline.people.validation import read_bytes

MANIFEST_SCHEMA = pa.schema([("name", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])


@dataclass(frozen=True)
class ImageManifest:
    """P images, sorted by name, each once."""

    name: np.ndarray
    """str (P,): path relative to the image folder."""
    bytes: np.ndarray
    """int64 (P,): size of the file."""
    sha256: np.ndarray
    """str (P,): hash of the file, hexadecimal."""


def build_image_manifest(
    folder: FilePath,
    names: Iterable[str],
    workers: int = 8,
    advance: Callable[[], object] | None = None,
) -> ImageManifest:
    """Hash images of a folder in `workers` threads, calling `advance` in this thread after each. UserError names a missing file."""

    def size_and_hash(name: str) -> tuple[int, str]:
        data = read_bytes(safe_path(folder, name))
        return len(data), hashlib.sha256(data).hexdigest()

    ordered = sorted({str(name) for name in names})
    hashed: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for entry in pool.map(size_and_hash, ordered):
            hashed.append(entry)
            if advance is not None:
                advance()
    finally:
        # Without this an error in the first image would wait for all the others.
        pool.shutdown(cancel_futures=True)
    sizes, hashes = [size for size, _ in hashed], [sha256 for _, sha256 in hashed]
    return ImageManifest(np.array(ordered, np.str_), np.array(sizes, np.int64), np.array(hashes, np.str_))


def write_image_manifest(manifest: ImageManifest, path: FilePath) -> None:
    """Write the manifest as Parquet; equal manifests give equal bytes (same pyarrow version)."""
    columns = [pa.array(manifest.name.tolist(), pa.string()), pa.array(manifest.bytes, pa.int64())]
    columns.append(pa.array(manifest.sha256.tolist(), pa.string()))
    write_parquet(pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA), path)


def read_image_manifest(path: FilePath) -> ImageManifest:
    """Read what `write_image_manifest` wrote; UserError if the file is missing or of another kind."""
    table = read_parquet(path, "an image manifest")
    refuse_other_schema(table, MANIFEST_SCHEMA, path, "an image manifest")
    name, sha256 = (np.array(table.column(c).to_pylist(), np.str_) for c in ("name", "sha256"))
    return ImageManifest(name, numpy_column(table.column("bytes"), table.num_rows), sha256)
