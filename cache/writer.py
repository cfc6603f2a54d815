"""Writes a store shard by shard: a killed run loses at most the shards it was at, a damaged store its damaged shards."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from cache.backend import StoreBackend, StoreLocation, backend_of
from cache.layout import Layout, metadata_documents
from cache.manifest import (
    ABSENT,
    MANIFEST_NAME,
    find_problems,
    read_fingerprint,
    read_store_manifest,
    write_store_manifest,
)
from pipeline.common.files import flush

RESUME_THREADS = 4
"""Shards that are checked at the same time when a killed run is resumed."""


@dataclass(frozen=True)
class Plan:
    """What is left to write."""

    pending: list[int]
    """The shards to write."""
    reason: str
    """One line that says why these; empty for a new store."""


def open_for_writing(path: StoreLocation, layout: Layout, fingerprint: dict[str, Any]) -> Plan:
    """Prepare a store for `fingerprint` (from `Layout.fingerprint`): keep the shards that fit and return the pending ones.

    A complete store is compared with its manifest, and only damaged shards become pending. A store of another fingerprint is
    removed. Call it under `pipeline.common.locks.exclusive`.
    """
    backend = backend_of(path)
    documents = metadata_documents(layout, fingerprint)
    all_shards = list(range(layout.shards))
    if not backend.exists():
        _write_documents(backend, documents)
        return Plan(all_shards, "")
    manifest = read_store_manifest(backend)
    before = manifest["fingerprint"] if manifest else _fingerprint_of(backend)
    if before != fingerprint:
        backend.clear()
        _write_documents(backend, documents)
        return Plan(all_shards, f"rebuilt: {_difference(before, fingerprint)}")
    if manifest is not None:
        return _repair(backend, layout, documents, manifest["files"])
    _remove_foreign(backend, {*documents, *layout.files})
    _write_documents(backend, documents)
    sizes, group = backend.sizes(), backend.group()
    arrays = {name: _array(group, name) for name in layout.arrays()}
    with ThreadPoolExecutor(RESUME_THREADS) as pool:
        readable = pool.map(functools.partial(_readable, sizes, arrays, layout), all_shards)
        pending = [shard for shard, kept in zip(all_shards, readable, strict=True) if not kept]
    return Plan(pending, f"resumed: {len(all_shards) - len(pending)} of {len(all_shards)} shards were done")


def write_shard(path: StoreLocation, layout: Layout, shard: int, data: dict[str, np.ndarray]) -> None:
    """Write one shard of every array but `done`, flush it, and only then mark it as done."""
    if not isinstance(path, Path):
        _put_shard(path, layout, shard, data)
        return
    rows = layout.rows(shard)
    # Zarr reads a shard before it writes into it, so a file that a killed run or a bad disk left must go. `done` goes first.
    for file in reversed(layout.shard_files(shard)):
        (path / file).unlink(missing_ok=True)
    group = zarr.open_group(path, mode="r+")
    for name, values in data.items():
        _writable(group, name)[rows] = values
    for file in layout.shard_files(shard):
        if not file.startswith("done/"):
            flush(path / file)
    _writable(group, "done")[rows] = np.ones(rows.stop - rows.start, bool)
    flush(path / f"done/c/{shard}")


def _put_shard(backend: StoreBackend, layout: Layout, shard: int, data: dict[str, np.ndarray]) -> None:
    """Write one shard to a backend that replaces whole files: make the files in memory, and put `done` after all others."""
    *files, done = layout.shard_files(shard)
    rows = layout.rows(shard)
    content: dict[str, Buffer] = dict(_metadata(layout))
    group = zarr.open_group(MemoryStore(content), mode="r+", zarr_format=3)
    for name, values in {**data, "done": np.ones(rows.stop - rows.start, bool)}.items():
        _writable(group, name)[rows] = values
    backend.delete(done)
    with ThreadPoolExecutor(len(files)) as pool:
        for _ in pool.map(lambda file: backend.write(file, content[file].to_bytes()), files):
            pass
    backend.write(done, content[done].to_bytes())


@functools.lru_cache(maxsize=8)
def _metadata(layout: Layout) -> dict[str, Buffer]:
    """Return the metadata that Zarr needs to write to arrays of that layout."""
    buffer = default_buffer_prototype().buffer
    return {file: buffer.from_bytes(data) for file, data in metadata_documents(layout, {}).items()}


def finish(path: StoreLocation, layout: Layout, fingerprint: dict[str, Any]) -> None:
    """Declare the store complete. Every shard must be done."""
    backend = backend_of(path)
    done = np.asarray(_array(backend.group(), "done")[:])
    undone = [shard for shard in range(layout.shards) if not done[layout.rows(shard)].all()]
    if undone:
        raise ValueError(f"{path}: shards {undone} are not done")
    write_store_manifest(backend, layout, fingerprint)


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _writable(group: zarr.Group, name: str) -> zarr.Array:
    """Return the array, set to write chunks of zeros too. `zarr.config` would set this for all threads."""
    return _array(group, name).with_config({"write_empty_chunks": True})


def _write_documents(backend: StoreBackend, documents: dict[str, bytes]) -> None:
    for file, data in documents.items():
        backend.write(file, data)


def _remove_foreign(backend: StoreBackend, known: set[str]) -> None:
    """Delete other files: a killed writer leaves files that it had not yet renamed, and a finished store may hold none."""
    for file in backend.sizes().keys() - known:
        backend.delete(file)


def _fingerprint_of(backend: StoreBackend) -> dict[str, Any] | None:
    try:
        fingerprint = read_fingerprint(backend)
    except (*ABSENT, ValueError, KeyError, TypeError):
        return None
    return fingerprint if isinstance(fingerprint, dict) else None


def _difference(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    if before is None:
        return "its metadata could not be read"
    old, new = _flat(before), _flat(after)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return "; ".join(f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}" for key in changed)


def _flat(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprint with keys like `outer.inner` in place of mappings inside it."""
    nested = {
        f"{key}.{name}": entry
        for key, value in fingerprint.items()
        if isinstance(value, dict)
        for name, entry in value.items()
    }
    return nested | {key: value for key, value in fingerprint.items() if not isinstance(value, dict)}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else text[:12] + "..."


def _readable(sizes: dict[str, int], arrays: dict[str, zarr.Array], layout: Layout, shard: int) -> bool:
    """Return whether a shard is done, all its files exist, and all checksums are right."""
    # Zarr treats an empty file as a chunk that was never written, and reads zeros.
    if not all(sizes.get(file) for file in layout.shard_files(shard)):
        return False
    rows = layout.rows(shard)
    try:
        if not np.all(arrays["done"][rows]):
            return False
        for array in arrays.values():
            array[rows]
    except (OSError, ValueError, RuntimeError, KeyError):
        return False
    return True


def _repair(backend: StoreBackend, layout: Layout, documents: dict[str, bytes], files: dict[str, str]) -> Plan:
    problems = find_problems(backend, files)
    if not problems:
        return Plan([], "complete")
    wrong = {problem.file for problem in problems}
    for file in wrong - files.keys():
        backend.delete(file)
    _write_documents(backend, {file: data for file, data in documents.items() if file in wrong})
    pending = [shard for shard in range(layout.shards) if wrong & set(layout.shard_files(shard))]
    for shard in pending:
        for file in layout.shard_files(shard):
            backend.delete(file)
    # Only now: without the manifest a swapped shard, whose checksum is right, would pass as undamaged.
    backend.delete(MANIFEST_NAME)
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    return Plan(pending, f"repaired: {'; '.join(map(str, problems[:5]))}{more}")
