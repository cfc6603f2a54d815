"""The list of a finished store's files with their sha256, written last: what says that a store is whole, and which part is not."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.layout import Layout, canonical, metadata_documents
from pipeline.files import sha256, write_atomically

NAME = "manifest.json"


@dataclass(frozen=True)
class Problem:
    """A file of a store, relative to it, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def write_manifest(path: Path, layout: Layout, fingerprint: dict[str, Any]) -> None:
    """Hash every file of a store whose boundaries are all done, and write the manifest."""
    files = [*metadata_documents(layout, fingerprint), *layout.files]
    body = {"fingerprint": fingerprint, "files": {file: sha256(path / file) for file in files}}
    document = {**body, "digest": hashlib.sha256(canonical(body)).hexdigest()}
    write_atomically(path / NAME, json.dumps(document, indent=1).encode())


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a store, None where it is absent or is not what was once written."""
    try:
        document = json.loads((path / NAME).read_bytes())
        body = {"fingerprint": document["fingerprint"], "files": document["files"]}
        whole = (
            document.keys() == {"fingerprint", "files", "digest"}
            and document["digest"] == hashlib.sha256(canonical(body)).hexdigest()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document if whole else None


def problems(path: Path, files: dict[str, str], advance: Callable[[], object] = int) -> list[Problem]:
    """What differs between the files on disk and the manifest's `files`: missing, damaged, swapped or foreign ones.

    `advance` is called after each file.
    """
    found = []
    owner = {digest: file for file, digest in files.items()}
    for file, digest in files.items():
        advance()
        if not (path / file).is_file():
            found.append(Problem(file, "missing"))
            continue
        actual = sha256(path / file)
        if actual != digest:
            found.append(
                Problem(file, f"swapped: holds the content of {owner[actual]}" if actual in owner else "damaged")
            )
    present = (p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    found.extend(
        Problem(file, "foreign: not part of this store")
        for file in sorted(present)
        if file not in files and file != NAME
    )
    return found
