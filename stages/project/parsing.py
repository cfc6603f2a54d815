"""From a mapping to a frozen dataclass: unknown keys, wrong types and values out of range are refused, with the place in the file."""

import dataclasses
import difflib
import functools
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.common.errors import UserError, printable, short_repr

PARAMS_FILE = Path("params.yaml")

RENAMED_KEYS = {
    "boundary": "shard",
    "missing": "label_drop",
    "noisy": "label_noise",
    "peeks": "target_examples",
    "picture_memory": "image_memory",
    "pictures": "images",
    "score_floor": "min_score",
    "settle": "final_weak_share",
}
"""Keys of earlier versions, and the names they have now."""

REMOVED_KEYS = {"consistency": "leave it out"}
"""Keys of earlier versions that have no successor, and what to do instead."""

REMOVED_VALUES = {("views", "warped"): "replayed"}
"""Values of keys in earlier versions, and what to use instead."""

WHY_REMOVED = "was removed, as docs/training.md explains"

Settings = TypeVar("Settings")


def parse(values: object, where: str, cls: type[Settings], file: Path = PARAMS_FILE) -> Settings:
    """Return the dataclass `cls`, and those inside it, of a mapping that is at `where` in the file; UserError names what is wrong."""
    _refuse_unknown_inside(values, where, cls, file)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(printable(part) for part in (where, *first["loc"]))
        for (name, value), instead in REMOVED_VALUES.items():
            if first["loc"][-1:] == (name,) and first["input"] == value:
                raise UserError(f"{file}: {key}: `{value}` {WHY_REMOVED}: use `{instead}`") from error
        raise UserError(f"{file}: {key}: {first['msg']}, found {short_repr(first['input'])}") from error


def refuse_unknown(values: dict[Any, Any], known: Any, where: str) -> None:
    """Raise UserError for a key that is not known, with its new name, the nearest known key, or all known keys."""
    for key in values:
        if key not in known:
            if RENAMED_KEYS.get(key) in known:
                raise UserError(f"{where}: unknown key `{key}`: it is called `{RENAMED_KEYS[key]}`")
            if key in REMOVED_KEYS:
                raise UserError(f"{where}: `{key}` {WHY_REMOVED}: {REMOVED_KEYS[key]}")
            near = difflib.get_close_matches(str(key)[:100], known, 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise UserError(f"{where}: unknown key `{printable(key)}`: {hint}")


def with_current_keys(values: object) -> object:
    """Return a mapping that an earlier version wrote as today's: keys renamed or left out, values replaced. Others are unchanged."""
    if not isinstance(values, dict):
        return values
    return {
        RENAMED_KEYS.get(key, key): REMOVED_VALUES.get((key, value), value) if isinstance(value, str) else value
        for key, value in values.items()
        if key not in REMOVED_KEYS
    }


def sections_inside(cls: type) -> dict[str, type]:
    """Return the fields of a dataclass that are dataclasses themselves, optional or not, with their types."""
    hints = _hints(cls)
    sections = {}
    for field in dataclasses.fields(cls):
        for hint in (hints[field.name], *typing.get_args(hints[field.name])):
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                sections[field.name] = hint
    return sections


def _refuse_unknown_inside(values: object, where: str, cls: type, file: Path) -> None:
    if not isinstance(values, dict):
        raise UserError(f"{file}: {where}: expected a mapping, found {short_repr(values)}")
    refuse_unknown(values, [field.name for field in dataclasses.fields(cls)], f"{file}: {where}")
    for name, inside in sections_inside(cls).items():
        if values.get(name) is not None:
            _refuse_unknown_inside(values[name], f"{where}.{name}", inside, file)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)
