"""The image manifest: name, size and hash of the images that a split of a dataset uses, and what the decoder says of each."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.common.stderr import captured_stderr
from pipeline.people.images import decoder_reads, safe_path
from pipeline.people.table import numpy_column, read_parquet, refuse_other_schema, write_parquet
from pipeline.people.validation import read_bytes

CHUNK = 64
"""Images that are decoded at once, after which stderr is looked at: libjpeg writes there what it misses, but not in which file."""

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

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in bytes, by its name."""
        return dict(zip(self.name.tolist(), self.bytes.tolist(), strict=True))


def build_image_manifest(
    folder: FilePath,
    names: Iterable[str],
    workers: int = 8,
    advance: Callable[[], object] | None = None,
    warn: Callable[[str], object] | None = None,
) -> ImageManifest:
    """Hash images of a folder in `workers` threads, calling `advance` in this thread after each. UserError names a missing file.

    With `warn`, each image is decoded once: UserError names one that lacks a part, which the decoder fills with grey; `warn` is
    called for others about which the decoder complains.
    """

    def size_and_hash(name: str) -> tuple[int, str]:
        data = read_bytes(safe_path(folder, name))
        if warn is not None:
            decoder_reads(data)
        return len(data), hashlib.sha256(data).hexdigest()

    ordered = sorted({str(name) for name in names})
    hashed: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for start in range(0, len(ordered), CHUNK):
            chunk = ordered[start : start + CHUNK]
            with tqdm.get_lock(), captured_stderr() as messages:  # the lock keeps a bar's own thread from writing
                hashed += pool.map(size_and_hash, chunk)
            for name in chunk:
                if messages and warn is not None:
                    _report_complaint(safe_path(folder, name), warn)
                if advance is not None:
                    advance()
    finally:
        # Without this an error in the first image would wait for all the others.
        pool.shutdown(cancel_futures=True)
    sizes, hashes = [size for size, _ in hashed], [sha256 for _, sha256 in hashed]
    return ImageManifest(np.array(ordered, np.str_), np.array(sizes, np.int64), np.array(hashes, np.str_))


def _report_complaint(path: Path, warn: Callable[[str], object]) -> None:
    """Call `warn` with what the decoder says of an image; UserError where a part is missing. What is no image is left to its readers."""
    with tqdm.get_lock(), captured_stderr() as messages:
        is_image = decoder_reads(read_bytes(path))
    if is_image and messages:
        said = "; ".join(messages)
        if "premature end" in said.lower():
            raise UserError(f"{path}: expected a complete image, found one with a part missing ({said})")
        warn(f"{path}: {said}")


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
