"""The list of a finished store's files with their sha256, written last: what says that a store is whole, and which part is not."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.layout import Layout, canonical, metadata_documents
from cache.place import Place, Where, place_of

NAME = "manifest.json"


@dataclass(frozen=True)
class Problem:
    """A file of a store, relative to it, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def write_manifest(place: Place, layout: Layout, fingerprint: dict[str, Any]) -> None:
    """Hash every file of a store whose boundaries are all done, and write the manifest."""
    files = [*metadata_documents(layout, fingerprint), *layout.files]
    body = {"fingerprint": fingerprint, "files": dict(zip(files, place.digests(files), strict=True))}
    document = {**body, "digest": hashlib.sha256(canonical(body)).hexdigest()}
    place.write(NAME, json.dumps(document, indent=1).encode())


def read_manifest(path: Where) -> dict[str, Any] | None:
    """The manifest of a store, None where it is absent or is not what was once written."""
    try:
        document = json.loads(place_of(path).read(NAME))
        body = {"fingerprint": document["fingerprint"], "files": document["files"]}
        whole = (
            document.keys() == {"fingerprint", "files", "digest"}
            and document["digest"] == hashlib.sha256(canonical(body)).hexdigest()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document if whole else None


def problems(place: Place, files: dict[str, str], advance: Callable[[], object] = int) -> list[Problem]:
    """What differs between the files there are and the manifest's `files`: missing, damaged, swapped or foreign ones.

    `advance` is called after each file.
    """
    found = []
    owner = {digest: file for file, digest in files.items()}
    present = place.sizes()
    actual = place.digests([file for file in files if file in present])
    for file, digest in files.items():
        if file not in present:
            found.append(Problem(file, "missing"))
        elif (other := next(actual)) != digest:
            found.append(
                Problem(file, f"swapped: holds the content of {owner[other]}" if other in owner else "damaged")
            )
        advance()
    found.extend(
        Problem(file, "foreign: not part of this store")
        for file in sorted(present)
        if file not in files and file != NAME
    )
    return found
