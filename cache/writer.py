"""Writing a store boundary by boundary, so that a killed run loses one boundary and a damaged store its damaged ones."""

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

from cache.layout import Layout, metadata_documents
from cache.manifest import NAME, problems, read_manifest, write_manifest
from cache.place import Place, Where, place_of
from pipeline.files import flush

READERS = 4
"""Boundaries that are checked at once when a killed run is resumed."""


@dataclass(frozen=True)
class Plan:
    """What is left to write, and one line on why that is not everything or nothing (empty for a new store)."""

    pending: list[int]
    reason: str


def open_for_writing(path: Where, layout: Layout, fingerprint: dict[str, Any]) -> Plan:
    """Make the store's folder fit `fingerprint` (of `Layout.fingerprint`), keep what can be kept, say what is pending.

    A complete store has its files checked against the manifest; only damaged boundaries become pending again.
    A store of another fingerprint is removed. Call under `cache.lock.exclusive`.
    """
    place = place_of(path)
    documents = metadata_documents(layout, fingerprint)
    everything = list(range(layout.boundaries))
    if not place.exists():
        _write_documents(place, documents)
        return Plan(everything, "")
    manifest = read_manifest(place)
    before = manifest["fingerprint"] if manifest else _fingerprint_of(place)
    if before != fingerprint:
        place.clear()
        _write_documents(place, documents)
        return Plan(everything, f"rebuilt: {_difference(before, fingerprint)}")
    if manifest is not None:
        return _repair(place, layout, documents, manifest["files"])
    _remove_foreign(place, {*documents, *layout.files})
    _write_documents(place, documents)
    sizes, group = place.sizes(), place.group()
    arrays = {name: _array(group, name) for name in layout.arrays()}
    with ThreadPoolExecutor(READERS) as pool:
        readable = pool.map(functools.partial(_readable, sizes, arrays, layout), everything)
        pending = [boundary for boundary, whole in zip(everything, readable, strict=True) if not whole]
    return Plan(pending, f"resumed: {len(everything) - len(pending)} of {len(everything)} boundaries were done")


def write_boundary(path: Where, layout: Layout, boundary: int, data: dict[str, np.ndarray]) -> None:
    """Write one boundary of every array but `done`, flush it, and only then record it as done."""
    if not isinstance(path, Path):
        _put_boundary(path, layout, boundary, data)
        return
    rows = layout.rows(boundary)
    # Zarr reads a shard before it writes into it, so one that a killed run or bad disk left behind must go. `done` goes first.
    for file in reversed(layout.shard_files(boundary)):
        (path / file).unlink(missing_ok=True)
    group = zarr.open_group(path, mode="r+")
    for name, values in data.items():
        _writable(group, name)[rows] = values
    for file in layout.shard_files(boundary):
        if not file.startswith("done/"):
            flush(path / file)
    _writable(group, "done")[rows] = np.ones(rows.stop - rows.start, bool)
    flush(path / f"done/c/{boundary}")


def _put_boundary(place: Place, layout: Layout, boundary: int, data: dict[str, np.ndarray]) -> None:
    """The same where files are put whole: they are made in memory. Until they are all there, the boundary is not done."""
    *files, done = layout.shard_files(boundary)
    rows = layout.rows(boundary)
    content: dict[str, Buffer] = dict(_metadata(layout))
    group = zarr.open_group(MemoryStore(content), mode="r+", zarr_format=3)
    for name, values in {**data, "done": np.ones(rows.stop - rows.start, bool)}.items():
        _writable(group, name)[rows] = values
    place.delete(done)
    with ThreadPoolExecutor(len(files)) as pool:
        for _ in pool.map(lambda file: place.write(file, content[file].to_bytes()), files):
            pass
    place.write(done, content[done].to_bytes())


@functools.lru_cache(maxsize=8)
def _metadata(layout: Layout) -> dict[str, Buffer]:
    """What Zarr has to find before it writes to arrays of that layout."""
    buffer = default_buffer_prototype().buffer
    return {file: buffer.from_bytes(data) for file, data in metadata_documents(layout, {}).items()}


def finish(path: Where, layout: Layout, fingerprint: dict[str, Any]) -> None:
    """Declare the store complete. Every boundary must be done."""
    place = place_of(path)
    done = np.asarray(_array(place.group(), "done")[:])
    undone = [b for b in range(layout.boundaries) if not done[layout.rows(b)].all()]
    if undone:
        raise ValueError(f"{path}: boundaries {undone} are not done")
    write_manifest(place, layout, fingerprint)


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _writable(group: zarr.Group, name: str) -> zarr.Array:
    """The array, which writes chunks of zeros too. Not by zarr.config: that is one for all threads."""
    return _array(group, name).with_config({"write_empty_chunks": True})


def _write_documents(place: Place, documents: dict[str, bytes]) -> None:
    for file, data in documents.items():
        place.write(file, data)


def _remove_foreign(place: Place, known: set[str]) -> None:
    """A writer that was killed leaves files behind that it had not yet renamed; a finished store may hold none."""
    for file in place.sizes().keys() - known:
        place.delete(file)


def _fingerprint_of(place: Place) -> dict[str, Any] | None:
    try:
        fingerprint = json.loads(place.read("zarr.json"))["attributes"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return fingerprint if isinstance(fingerprint, dict) else None


def _difference(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    if before is None:
        return "its metadata could not be read"
    old, new = _flat(before), _flat(after)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return "; ".join(f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}" for key in changed)


def _flat(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """One level of nesting as `outer.inner`."""
    nested = {
        f"{key}.{name}": each
        for key, value in fingerprint.items()
        if isinstance(value, dict)
        for name, each in value.items()
    }
    return nested | {key: value for key, value in fingerprint.items() if not isinstance(value, dict)}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else text[:12] + "..."


def _readable(sizes: dict[str, int], arrays: dict[str, zarr.Array], layout: Layout, boundary: int) -> bool:
    """Done, every file there, and every checksum right."""
    # Zarr takes an empty file for a chunk that was never written, and reads zeros.
    if not all(sizes.get(file) for file in layout.shard_files(boundary)):
        return False
    rows = layout.rows(boundary)
    try:
        if not np.all(arrays["done"][rows]):
            return False
        for array in arrays.values():
            array[rows]
    except (OSError, ValueError, RuntimeError, KeyError):
        return False
    return True


def _repair(place: Place, layout: Layout, documents: dict[str, bytes], files: dict[str, str]) -> Plan:
    found = problems(place, files)
    if not found:
        return Plan([], "complete")
    wrong = {problem.file for problem in found}
    for file in wrong - files.keys():
        place.delete(file)
    _write_documents(place, {file: data for file, data in documents.items() if file in wrong})
    pending = [b for b in range(layout.boundaries) if wrong & set(layout.shard_files(b))]
    for boundary in pending:
        for file in layout.shard_files(boundary):
            place.delete(file)
    # Only now: without the manifest a swapped shard, whose checksum is right, would pass for a good one.
    place.delete(NAME)
    return Plan(
        pending,
        "repaired: " + "; ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else ""),
    )
