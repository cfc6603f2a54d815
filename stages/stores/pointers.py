"""Pointers: small files that DVC tracks in place of remote stores. A pointer names the store's address and the digest of its content."""

import json
from dataclasses import dataclass
from pathlib import Path

from cache.manifest import read_store_manifest
from cache.remote import Remote
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from stages.project.project import ADDRESS_PATTERN, remote_address


@dataclass(frozen=True)
class Pointer:
    """The content of a pointer."""

    file: Path
    """The pointer's own path."""
    store: Remote
    digest: str
    """The digest in the store's manifest."""

    def check(self, digest: str | None, rebuild_command: str) -> None:
        """Raise UserError if the store's manifest has another digest than the pointer."""
        if digest != self.digest:
            raise UserError(
                f"{self.store}: holds other targets than {self.file} names: run `dvc pull`, or `{rebuild_command}` to make "
                "them again"
            )


def pointer_path(store: Path) -> Path:
    """Return the path of the pointer, next to where the store would be on disk."""
    return store.with_suffix(".json")


def write_pointer(file: Path, store: Remote) -> None:
    """Write a pointer to a complete store."""
    manifest = read_store_manifest(store)
    assert manifest is not None
    document = {"address": str(store), "digest": manifest["digest"]}
    write_atomically(file, (json.dumps(document, indent=1) + "\n").encode())


def read_pointer(file: Path, rebuild_command: str) -> Pointer:
    """Read a pointer; UserError if it is absent or malformed."""
    try:
        document = json.loads(file.read_bytes())
        if not (isinstance(document["digest"], str) and ADDRESS_PATTERN.fullmatch(document["address"])):
            raise ValueError
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing, which names the stored targets: run `dvc pull` or `{rebuild_command}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{file}: expected address and digest of a store, found something else: run `{rebuild_command}`"
        ) from None
    return Pointer(file, Remote(document["address"]), document["digest"])


def store_named(name: Path | str, rebuild_command: str) -> Path | Remote:
    """Return the store that a user names by an address or a path. A pointer in place of the path is followed."""
    if "://" in str(name):
        return Remote(remote_address(name, "expected a path or"))
    path = Path(name)
    if path.exists() or not pointer_path(path).is_file():
        return path
    pointer = read_pointer(pointer_path(path), rebuild_command)
    if manifest := read_store_manifest(pointer.store):
        pointer.check(manifest["digest"], rebuild_command)
    return pointer.store
