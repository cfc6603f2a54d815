"""What a user means by some paths: which pictures and videos, in what order, and under what names. Nothing is opened here."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PICTURES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".jp2",
    ".avif",
    ".gif",
    ".ppm",
    ".pgm",
    ".pnm",
)
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv")


@dataclass(frozen=True)
class Input:
    """A picture or video file."""

    path: Path
    """Absolute."""
    name: PurePosixPath
    """Relative to the folder that holds all inputs; bytes that are no Unicode as \\udc80 to \\udcff."""
    drawn: PurePosixPath
    """The same with the suffix that the drawn file gets, and a number where another one already has that name."""
    is_video: bool


def find_inputs(
    paths: Collection[Path], without: Collection[Path], warn: Callable[[str], None]
) -> tuple[Path, list[Input]]:
    """The folder that holds all inputs, and these: files in the given order, each folder's sorted by path, each file once.

    A file named outright is taken for a picture unless its suffix is a video's; in folders suffixes decide, `warn` hears of
    other files and of paths that are not there, hidden files and the folders `without` are passed over in silence.
    """
    excluded = {os.path.abspath(folder) for folder in without}
    files: dict[Path, None] = {}
    for path in paths:
        place = Path(os.path.abspath(path))
        if place.is_dir():
            known: dict[Path, None] = {}
            for file in _files(place, excluded):
                if file.suffix.lower() in (*PICTURES, *VIDEOS):
                    known[file] = None
                else:
                    warn(f"{file}: by its suffix neither a picture nor a video: left out")
            if not known:
                warn(f"{path}: no picture or video in this folder")
            files |= known
        elif place.is_file():
            files[place] = None
        else:
            warn(f"{path}: expected a picture, a video or a folder, found none")
    if not files:
        return Path(), []
    folder = Path(os.path.commonpath([file.parent for file in files]))
    names = [PurePosixPath(_unicode(file.relative_to(folder).as_posix())) for file in files]
    taken = {str(parent).casefold() for name in names for parent in name.parents}
    found = []
    for file, name in zip(files, names, strict=True):
        is_video = file.suffix.lower() in VIDEOS
        found.append(Input(file, name, _free(name.with_suffix(".mp4" if is_video else ".jpg"), taken), is_video))
    return folder, found


def _files(folder: Path, excluded: set[str]) -> Iterator[Path]:
    """Files below a folder that are not hidden; a folder's own before those of its folders. Links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.join(place, f) not in excluded)
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _unicode(name: str) -> str:
    """A name that any JSON reader and any disk takes."""
    return name.encode(errors="backslashreplace").decode()


def _free(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """The name, or with -2, -3 and so on behind its stem; entered into `taken`. Case does not tell files apart everywhere."""
    number, free = 1, name
    while str(free).casefold() in taken:
        number += 1
        free = name.with_stem(f"{name.stem}-{number}")
    taken.add(str(free).casefold())
    return free
