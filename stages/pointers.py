"""Pointers: where a store is remote, the small file that DVC tracks in its place says where, and which bytes are meant."""

import json
from dataclasses import dataclass
from pathlib import Path

from cache.manifest import read_manifest
from cache.remote import Remote
from pipeline.errors import UserError
from pipeline.files import write_atomically
from stages.params import ADDRESS, address


@dataclass(frozen=True)
class Pointer:
    """What was written, and to where."""

    file: Path
    store: Remote
    digest: str
    """Of the store's manifest."""

    def check(self, digest: str | None, again: str) -> None:
        """UserError where the manifest there, of that digest, is another than was written."""
        if digest != self.digest:
            raise UserError(
                f"{self.store}: holds other targets than {self.file} says: run `dvc pull`, or `{again}` to make them anew"
            )


def pointer_path(store: Path) -> Path:
    """Beside where the store would lie on disk."""
    return store.with_suffix(".json")


def write_pointer(file: Path, store: Remote) -> None:
    """Point to a complete store."""
    manifest = read_manifest(store)
    assert manifest is not None
    document = {"address": str(store), "digest": manifest["digest"]}
    write_atomically(file, (json.dumps(document, indent=1) + "\n").encode())


def read_pointer(file: Path, again: str) -> Pointer:
    """What a pointer says; UserError where it is absent or is none."""
    try:
        document = json.loads(file.read_bytes())
        if not (isinstance(document["digest"], str) and ADDRESS.fullmatch(document["address"])):
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"{file} is missing, which says what is stored: run `dvc pull` or `{again}`") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{file}: expected address and digest of a store, found something else: run `{again}`"
        ) from None
    return Pointer(file, Remote(document["address"]), document["digest"])


def store_named(name: Path | str, again: str) -> Path | Remote:
    """The store that a user names by an address or a path; a pointer where that path would be is followed."""
    if "://" in str(name):
        return Remote(address(name, "expected a path or"))
    path = Path(name)
    if path.exists() or not pointer_path(path).is_file():
        return path
    pointer = read_pointer(pointer_path(path), again)
    if manifest := read_manifest(pointer.store):
        pointer.check(manifest["digest"], again)
    return pointer.store
