"""Writing files and folders so that a killed process leaves the old or the new content: written aside, flushed, renamed."""

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

FilePath = str | os.PathLike[str]
"""A path as functions take it that read or write one file."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file in one step. An OSError, of a full disk for example, leaves the old file and no other."""
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Replace the contents of files that belong together: an OSError leaves all old files and no other.

    All are on the disk before the first is renamed, so that a kill between two renames alone leaves new files beside old ones.
    """
    asides = {path: path.with_name(path.name + ".partial") for path in contents}
    try:
        for path, aside in asides.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            with aside.open("wb") as stream:
                stream.write(contents[path])
                stream.flush()
                os.fsync(stream.fileno())
        for path, aside in asides.items():
            os.replace(aside, path)
    except OSError:
        for aside in asides.values():
            aside.unlink(missing_ok=True)
        raise


def replace_folder(aside: Path, place: Path) -> None:
    """Move the finished folder `aside` to `place`. If killed midway, the old folder is complete there or at `<place>.previous`.

    Where `place` is a link, to another disk perhaps, the link stays, and what it leads to is replaced.
    """
    if place.is_symlink():
        place = place.resolve()
        near = place.with_name(aside.name)
        shutil.rmtree(near, ignore_errors=True)
        near.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(shutil.move(aside, near))
    previous = place.with_name(place.name + ".previous")
    shutil.rmtree(previous, ignore_errors=True)
    if place.exists():
        place.rename(previous)
    aside.rename(place)
    shutil.rmtree(previous, ignore_errors=True)


def flush(path: Path) -> None:
    """Force a file that a library wrote, and the entry in its folder, to the disk."""
    for part in (path, path.parent):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
