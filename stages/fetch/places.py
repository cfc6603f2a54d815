"""What already lies below data/: downloaded files, complete folders of images, and things that stand in the way.

Beside a folder of images that was unpacked completely lies `FOLDER.fetched`, which names the archive and its number of files. Images
that somebody else put there are never touched, and are treated as complete only where their owner made that file, an empty one.
"""

import json
import os
from pathlib import Path

from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.detection import published
from stages.fetch.catalogue import Archive

DETECTORS = Path("data/detectors")
"""Folder of the fetched detectors."""


def fetched_detector(folder: Path = DETECTORS) -> Path | None:
    """Return the first of the published detectors that is in the folder, or None."""
    places = (folder / detector.file for detector in published.DETECTORS)
    return next((place for place in places if place.is_file()), None)


def expect_folder(folder: Path) -> None:
    """Raise UserError where something that is not a folder stands at this path or above it."""
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: expected a folder, found a link that leads nowhere: fix or remove it, then run this again"
            )
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: expected a folder, found a file: remove or rename it, then run this again")


def is_downloaded(place: Path, expected: str) -> bool:
    """Whether the file exists, with a sha256 that begins with `expected`. Raises UserError for anything else at its place."""
    if not place.exists():
        return False
    if not place.is_file():
        raise UserError(f"{place}: expected a file, found a folder: remove or rename it, then run this again")
    digest = sha256(place)
    if not digest.startswith(expected):
        raise UserError(
            f"{place}: not the published file: expected a sha256 of {expected}..., found {digest}: "
            "remove or rename it, then run this again"
        )
    return True


def is_unpacked(archive: Archive, folder: Path) -> bool:
    """Whether the folder has what the archive contains. Raises UserError where something else is in its way."""
    if not archive.image_folder:
        expect_folder(folder)
        places = [folder / name for name in archive.files]
        for place in places:
            if place.exists() and not place.is_file():
                raise UserError(f"{place}: expected a file, found a folder: remove or rename it, then run this again")
        return all(place.is_file() for place in places)
    expect_folder(folder.parent if folder.is_symlink() else folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        if folder.is_symlink():
            raise UserError(
                f"{folder}: expected a folder, found a link to no folder or an empty one: remove the link and run this again; "
                f"to keep images elsewhere, make {folder.parent} a link"
            )
        return False
    count = sum(len(names) for _, _, names in os.walk(folder))
    recorded = _recorded_files(archive, folder)
    if recorded is None or count < recorded:
        files = f"{count:,} file{'' if count == 1 else 's'}"
        of_all = f" of the {recorded:,} that {archive.file} brought" if recorded else ""
        raise UserError(
            f"{folder}: found {files}{of_all}, not known to be all of {archive.file}: if they are, make an empty file "
            f"{marker_of(folder)}; if not, move the folder away; then run this again"
        )
    return True


def marker_of(folder: Path) -> Path:
    """The file that vouches for a folder of images."""
    return folder.with_name(folder.name + ".fetched")


def marker_content(archive: Archive, files: int) -> bytes:
    """What the marker of a folder with that many files of the archive contains."""
    return (json.dumps({"archive": archive.file, "files": files}) + "\n").encode()


def _recorded_files(archive: Archive, folder: Path) -> int | None:
    """The number of files in the folder's marker, 0 where its owner made an empty one, None without a marker of this archive."""
    marker = marker_of(folder)
    if not marker.is_file():
        return None
    content = marker.read_bytes()
    if not content.strip():
        return 0
    try:
        record = json.loads(content)
        return int(record["files"]) if record["archive"] == archive.file else None
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
