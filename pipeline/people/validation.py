"""Checked reading of JSON files and of values in them: what is wrong becomes a one-line UserError. Nothing here is about one dataset."""

import json
import math
import posixpath
import re
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

import numpy as np

from pipeline.common.errors import UserError, short_repr
from pipeline.common.files import FilePath

ErrorContext = str | tuple[object, ...]
"""Where an error is: a file, or a file and the words that lead to an entry in it. They are joined only when an error is raised."""

STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')
"""A text in JSON, or, as its group, one of the constants that JSON does not allow."""

LARGEST_COORDINATE = 1e8
"""Largest absolute coordinate. A larger one comes from a broken file, and products of such leave float64's exact range."""


def fail(where: ErrorContext, expected: str, found: object) -> NoReturn:
    """Raise the UserError `where: expected .., found ..`; `found` is printed as a value unless it is a Phrase."""
    place = where if isinstance(where, str) else f"{where[0]}: " + " ".join(str(w) for w in where[1:])
    raise UserError(f"{place}: expected {expected}, found {found if isinstance(found, Phrase) else short_repr(found)}")


class Phrase(str):
    """Words that describe what was found, as opposed to the value itself."""


def read_bytes(path: FilePath) -> bytes:
    """Read a file's bytes; UserError if it cannot be read or is empty."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected a readable file, found {reason(error)}") from error
    if not data:
        raise UserError(f"{path}: expected a file with content, found 0 bytes")
    return data


def reason(error: Exception) -> str:
    """Return an exception's message as one line of at most 120 characters."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (" ".join(words.split()) or type(error).__name__)[:120]


def read_json(path: FilePath) -> Any:
    """Read a JSON document; UserError if it cannot be read, is not JSON, or has NaN or Infinity, which JSON does not allow."""

    data = read_bytes(path)

    def constant(word: str) -> NoReturn:
        fail(str(path), "finite numbers", Phrase(word + _place_of_constant(data)))

    try:
        return json.loads(data, parse_constant=constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: expected JSON, found {reason(error)}") from error


def _place_of_constant(data: bytes) -> str:
    """Return the line and column of the first NaN or Infinity outside a text in a JSON document, as a phrase."""
    text = data.decode(json.detect_encoding(data), "replace")
    found = next(match for match in STRING_OR_CONSTANT.finditer(text) if match[1])
    before = text[: found.start()]
    return f" in line {before.count(chr(10)) + 1}, column {found.start() - before.rfind(chr(10))}"


def field(entry: Any, key: str, where: ErrorContext) -> Any:
    """Return `entry[key]`; UserError if `entry` is not an object or lacks the key."""
    if not isinstance(entry, dict):
        fail(where, f"an object with `{key}`", entry)
    if key not in entry:
        fail(where, f"`{key}`", Phrase("none"))
    return entry[key]


def entries(document: Any, key: str, where: ErrorContext) -> list[Any]:
    """Return the list `document[key]`; UserError if there is none."""
    value = field(document, key, where)
    if not isinstance(value, list):
        fail(where, f"`{key}` to be a list", value)
    return value


def whole_number(value: Any, where: ErrorContext, what: str, least: int = 0, most: int = 2**62) -> int:
    """Return an integer in [least, most], else UserError; floats without a fraction are accepted, since some tools write 5.0."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not least <= value <= most or value != int(value):
        bounds = f"from {least} to {most}" if ok and value > most else f"of at least {least}"
        fail(where, f"{what} to be a whole number {bounds}", value)
    return int(value)


def number(value: Any, where: ErrorContext, what: str, most: float = LARGEST_COORDINATE) -> float:
    """Return a finite number with |number| <= most, else UserError."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not -most <= value <= most:
        fail(where, f"{what} to be a finite number", value)
    return float(value)


def numbers(value: Any, count: int | None, where: ErrorContext, what: str) -> np.ndarray:
    """Return a flat list of finite numbers as float64 (count,), of any length if `count` is None, else UserError."""
    try:
        array = np.asarray(value if isinstance(value, list) else None)
    except (ValueError, OverflowError):
        array = np.empty((0, 0))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        fail(where, f"{what} to be a list of numbers", value)
    if count is not None and len(array) != count:
        fail(where, f"{what} to hold {count} numbers", Phrase(str(len(array))))
    array = array.astype(np.float64)
    if not (np.abs(array) <= LARGEST_COORDINATE).all():
        bad = array[~(np.abs(array) <= LARGEST_COORDINATE)][0]
        fail(where, f"{what} to hold finite numbers", Phrase(f"{bad}"))
    return array


def is_finite(value: Any) -> bool:
    """Return whether the value is one real, finite number (Python's or NumPy's)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def file_name(value: Any, where: ErrorContext) -> str:
    """Return an image's relative path; UserError if it is not text, is absolute, or leaves the image folder by `..`."""
    if not isinstance(value, str) or not value or "\0" in value:
        fail(where, "an image file name", value)
    windows = PureWindowsPath(value)
    inside = posixpath.normpath(value.replace("\\", "/"))
    if windows.drive or windows.root or inside in ("..", ".") or inside.startswith("../"):
        fail(where, "a file name inside the image folder", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        fail(where, "a file name in Unicode", value)
    return value
