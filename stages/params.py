"""params.yaml: read once, checked key by key, turned into one frozen dataclass per stage. Knows no stage's meaning."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import UserError, one_line

FILE = Path("params.yaml")
SECTIONS = (
    "seed",
    "data",
    "sample",
    "datasets",
    "prepare",
    "teachers",
    "fit",
    "teach",
    "distill",
    "students",
    "baselines",
    "evaluate",
    "report",
)

Settings = TypeVar("Settings")


def load_params(path: Path = FILE) -> dict[str, Any]:
    """The parsed file with known top-level keys only; UserError where it is absent or malformed."""
    if not path.is_file():
        raise UserError(f"{path} not found in this folder: run this where it lies, or copy one from params/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: not readable as YAML: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping, found {type(values).__name__}")
    refuse_unknown(values, SECTIONS, str(path))
    seed = values.setdefault("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError(f"{path}: seed: expected a whole number from 0 to 2^63 - 1, found {seed!r}")
    return values


def settings(params: dict[str, Any], section: str, cls: type[Settings]) -> Settings:
    """One stage's section as its dataclass; an absent section means the defaults."""
    return parse(params.get(section) or {}, section, cls)


def parse(values: object, where: str, cls: type[Settings]) -> Settings:
    """A mapping as a dataclass: unknown keys, wrong types and values out of range are refused, with where they stand."""
    if not isinstance(values, dict):
        raise UserError(f"{FILE}: {where}: expected a mapping, found {values!r}")
    refuse_unknown(values, [field.name for field in dataclasses.fields(cls)], f"{FILE}: {where}")  # type: ignore[arg-type]
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in (where, *first["loc"]))
        raise UserError(f"{FILE}: {key}: {first['msg']}, found {first['input']!r}") from error


def refuse_unknown(values: dict[Any, Any], known: Any, where: str) -> None:
    """UserError for a key that is not known, naming the nearest that is."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise UserError(f"{where}: unknown key `{key}`: {hint}")
