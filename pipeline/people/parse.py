"""Checked reading of foreign JSON files and values: surprises become one-line UserErrors. No dataset is known here."""

import json
import math
import os
import posixpath
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

import numpy as np

from pipeline.errors import UserError, shown

Where = str | tuple[object, ...]
"""What an error names: a file, or a file and the words that lead to an entry (only joined once an error is raised)."""

LARGEST = 1e8
"""Coordinates beyond this are a broken file, and their products would leave float64's exact range."""


def fail(where: Where, expected: str, found: object) -> NoReturn:
    """Raise the UserError `where: expected .., found ..`; `found` is shown as a value unless it is already a phrase."""
    place = where if isinstance(where, str) else f"{where[0]}: " + " ".join(str(w) for w in where[1:])
    raise UserError(f"{place}: expected {expected}, found {found if isinstance(found, Phrase) else shown(found)}")


class Phrase(str):
    """Words about what was found, as opposed to the value itself."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes; UserError where it can't be read or is empty."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected a readable file, found {reason(error)}") from error
    if not data:
        raise UserError(f"{path}: expected a file with content, found 0 bytes")
    return data


def reason(error: Exception) -> str:
    """An exception in one line of at most 120 characters."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (" ".join(words.split()) or type(error).__name__)[:120]


def read_json(path: str | os.PathLike[str]) -> Any:
    """A JSON document. UserError where it can't be read, isn't JSON, or has NaN or Infinity, which JSON knows not."""

    def constant(word: str) -> NoReturn:
        fail(str(path), "finite numbers", Phrase(word))

    try:
        return json.loads(read_bytes(path), parse_constant=constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: expected JSON, found {reason(error)}") from error


def field(entry: Any, key: str, where: Where) -> Any:
    """`entry[key]`; UserError where `entry` is no object or lacks it."""
    if not isinstance(entry, dict):
        fail(where, f"an object with `{key}`", entry)
    if key not in entry:
        fail(where, f"`{key}`", Phrase("none"))
    return entry[key]


def entries(document: Any, key: str, where: Where) -> list[Any]:
    """The list `document[key]`."""
    value = field(document, key, where)
    if not isinstance(value, list):
        fail(where, f"`{key}` to be a list", value)
    return value


def whole(value: Any, where: Where, what: str, least: int = 0, most: int = 2**62) -> int:
    """An integer in [least, most]; floats without a fraction pass, since some tools write 5.0."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not least <= value <= most or value != int(value):
        fail(where, f"{what} to be a whole number of at least {least}", value)
    return int(value)


def number(value: Any, where: Where, what: str, most: float = LARGEST) -> float:
    """A finite number with |number| <= most."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not -most <= value <= most:
        fail(where, f"{what} to be a finite number", value)
    return float(value)


def numbers(value: Any, count: int | None, where: Where, what: str) -> np.ndarray:
    """Float64 (count,): a flat list of finite numbers, of that length if one is given."""
    try:
        array = np.asarray(value if isinstance(value, list) else None)
    except (ValueError, OverflowError):
        array = np.empty((0, 0))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        fail(where, f"{what} to be a list of numbers", value)
    if count is not None and len(array) != count:
        fail(where, f"{what} to hold {count} numbers", Phrase(str(len(array))))
    array = array.astype(np.float64)
    if not (np.abs(array) <= LARGEST).all():
        bad = array[~(np.abs(array) <= LARGEST)][0]
        fail(where, f"{what} to hold finite numbers", Phrase(f"{bad}"))
    return array


def is_finite(value: Any) -> bool:
    """Is it one real, finite number (Python's or NumPy's)?"""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def file_name(value: Any, where: Where) -> str:
    """A picture's relative path; UserError where it is no text, absolute, or leaves the picture folder by `..`."""
    if not isinstance(value, str) or not value or "\0" in value:
        fail(where, "a picture file name", value)
    windows = PureWindowsPath(value)
    inside = posixpath.normpath(value.replace("\\", "/"))
    if windows.drive or windows.root or inside in ("..", ".") or inside.startswith("../"):
        fail(where, "a file name inside the picture folder", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        fail(where, "a file name in Unicode", value)
    return value
