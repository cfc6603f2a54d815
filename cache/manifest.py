"""The manifest of a store: its files with their sha256. It is written last, so it marks a store as complete and finds damaged files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.backend import StoreBackend, StoreLocation, backend_of
from cache.layout import Layout, canonical, metadata_documents

MANIFEST_NAME = "manifest.json"

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Raised for a file that is not there. Other OSErrors may be gone the next moment, as of a disk in a network: they say nothing of it."""


@dataclass(frozen=True)
class Problem:
    """A file of a store that is not as it was written."""

    file: str
    """Relative to the store."""
    what: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def write_store_manifest(backend: StoreBackend, layout: Layout, fingerprint: dict[str, Any]) -> None:
    """Hash every file of a store whose shards are all done, and write its manifest."""
    files = [*metadata_documents(layout, fingerprint), *layout.files]
    body = {"fingerprint": fingerprint, "files": dict(zip(files, backend.digests(files), strict=True))}
    document = {**body, "digest": hashlib.sha256(canonical(body)).hexdigest()}
    backend.write(MANIFEST_NAME, json.dumps(document, indent=1).encode())


def read_store_manifest(location: StoreLocation) -> dict[str, Any] | None:
    """Return the manifest of a store, or None if it is absent or damaged; OSError where it is there and cannot be read now."""
    try:
        document = json.loads(backend_of(location).read(MANIFEST_NAME))
        body = {"fingerprint": document["fingerprint"], "files": document["files"]}
        undamaged = (
            document.keys() == {"fingerprint", "files", "digest"}
            and document["digest"] == hashlib.sha256(canonical(body)).hexdigest()
        )
    except (*ABSENT, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document if undamaged else None


def read_fingerprint(location: StoreLocation) -> Any:
    """Return the fingerprint in the metadata of a store, finished or not; OSError, ValueError, KeyError or TypeError without one."""
    return json.loads(backend_of(location).read("zarr.json"))["attributes"]["fingerprint"]


def find_problems(backend: StoreBackend, files: dict[str, str], advance: Callable[[], object] = int) -> list[Problem]:
    """Compare a store with `files`, the sha256 by file of its manifest. Files may be missing, damaged, swapped or foreign.

    `advance` is called after each file.
    """
    problems = []
    owner = {digest: file for file, digest in files.items()}
    present = backend.sizes()
    actual = backend.digests([file for file in files if file in present])
    for file, digest in files.items():
        if file not in present:
            problems.append(Problem(file, "missing"))
        elif (other := next(actual)) != digest:
            problems.append(
                Problem(file, f"swapped: holds the content of {owner[other]}" if other in owner else "damaged")
            )
        advance()
    problems.extend(
        Problem(file, "foreign: not part of this store")
        for file in sorted(present)
        if file not in files and file != MANIFEST_NAME
    )
    return problems
