"""Finds the images and videos that a user's paths name, in order, with the names of what is written for them. Opens nothing."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = (
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
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv")


@dataclass(frozen=True)
class MediaFile:
    """An image or video file."""

    path: Path
    """Absolute path."""
    name: PurePosixPath
    """Path relative to the folder that holds all inputs; bytes that are no Unicode stand as \\udc80 to \\udcff."""
    drawn_name: PurePosixPath
    """`name` with the suffix of the drawn file, and with a number where another file already has that name."""
    is_video: bool


def find_media(
    paths: Collection[Path], without: Collection[Path], warn: Callable[[str], None]
) -> tuple[Path, list[MediaFile]]:
    """Return the folder that holds all inputs, and the inputs: in the given order, each folder's sorted by path, each file once.

    A file that is named itself is an image unless its suffix is a video's. In folders the suffix decides, and hidden files and
    the folders `without` are skipped. `warn` is called for files of other suffixes and for paths that do not exist.
    """
    excluded = {os.path.abspath(folder) for folder in without}
    files: dict[Path, None] = {}
    for path in paths:
        absolute = Path(os.path.abspath(path))
        if absolute.is_dir():
            media: dict[Path, None] = {}
            for file in _files(absolute, excluded):
                if file.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
                    media[file] = None
                else:
                    warn(f"{file}: by its suffix neither an image nor a video: left out")
            if not media:
                warn(f"{path}: no image or video in this folder")
            files |= media
        elif absolute.is_file():
            files[absolute] = None
        else:
            warn(f"{path}: expected an image, a video or a folder, found none")
    if not files:
        return Path(), []
    folder = Path(os.path.commonpath([file.parent for file in files]))
    names = [PurePosixPath(_unicode(file.relative_to(folder).as_posix())) for file in files]
    taken = {str(parent).casefold() for name in names for parent in name.parents}
    inputs = []
    for file, name in zip(files, names, strict=True):
        is_video = file.suffix.lower() in VIDEO_SUFFIXES
        drawn_name = _unused_name(name.with_suffix(".mp4" if is_video else ".jpg"), taken)
        inputs.append(MediaFile(file, name, drawn_name, is_video))
    return folder, inputs


def _files(folder: Path, excluded: set[str]) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, its own before those of its folders. Follows no links to folders."""
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.join(current, f) not in excluded)
        yield from (Path(current, name) for name in sorted(names) if not name.startswith("."))


def _unicode(name: str) -> str:
    """Return the name in a form that every JSON reader and every disk accepts."""
    return name.encode(errors="backslashreplace").decode()


def _unused_name(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """Return the name, with -2, -3 and so on behind its stem where it is taken, and add it to `taken`, in lower case.

    Upper and lower case do not tell files apart on every disk.
    """
    number, unused = 1, name
    while str(unused).casefold() in taken:
        number += 1
        unused = name.with_stem(f"{name.stem}-{number}")
    taken.add(str(unused).casefold())
    return unused
