"""Files that are either old or new, never half: written aside, flushed to the disk, renamed."""

import hashlib
import os
import shutil
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file's content in one step; where that fails, a full disk say, nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def replace_folder(aside: Path, place: Path) -> None:
    """Put a finished folder in another's place. Killed midway, the old one is whole or lies at `<place>.previous`."""
    previous = place.with_name(place.name + ".previous")
    shutil.rmtree(previous, ignore_errors=True)
    if place.exists():
        place.rename(previous)
    aside.rename(place)
    shutil.rmtree(previous, ignore_errors=True)


def flush(path: Path) -> None:
    """Force a file that somebody else wrote, and its folder's entry, to the disk."""
    for each in (path, path.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
