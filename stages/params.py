"""params.yaml: read once, checked key by key, turned into one frozen dataclass per stage. Knows no stage's meaning."""

import dataclasses
import difflib
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import UserError, one_line, printable, shown

FILE = Path("params.yaml")
SECTIONS = (
    "seed",
    "data",
    "sample",
    "datasets",
    "prepare",
    "teachers",
    "targets",
    "crops",
    "fit",
    "teach",
    "distill",
    "students",
    "baselines",
    "evaluate",
    "report",
)

NAMED = ("datasets", "teachers", "students", "baselines")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""Of what is listed under them: DVC puts names into commands that a shell runs, into paths, and into keys of its own with dots."""
ON_DISK = "data/targets"
ADDRESS = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]{1,62}(?:/[A-Za-z0-9_][A-Za-z0-9._=+-]*)*")
"""Of remote object storage: a bucket and what is below, without what a shell or a path would read as something else."""
MOST_VALUES = 100_000
"""Of one file, those counted that aliases (`*name`) repeat."""

Settings = TypeVar("Settings")


class Loader(yaml.SafeLoader):
    """Plain values only, and a key that stands twice in a mapping is refused: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = None if key_node.tag == "tag:yaml.org,2002:merge" else self.construct_object(key_node, deep=True)
            if key is not None and isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_params(path: Path = FILE) -> dict[str, Any]:
    """The parsed file with known top-level keys only; UserError where it is absent or malformed."""
    if not path.is_file():
        raise UserError(f"{path} not found in this folder: run this where it lies, or copy one from params/")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not readable as YAML: expected UTF-8, found other bytes: save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, TypeError, OSError, RecursionError) as error:
        raise UserError(
            f"{path}: not readable as YAML: {one_line(error)}: mend it, or copy one from params/"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping, found {type(values).__name__}: mend it, or copy one from params/")
    if _count(values, {}) > MOST_VALUES:
        raise UserError(
            f"{path}: expected at most {MOST_VALUES:,} values, found more by aliases (`*name`): write them out, or leave them out"
        )
    refuse_unknown(values, SECTIONS, str(path))
    _refuse_infinite(values, f"{path}: ")
    _refuse_names(values, str(path))
    seed = values.setdefault("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError(f"{path}: seed: expected a whole number from 0 to 2^63 - 1, found {shown(seed)}")
    remote_targets(values, path)
    return values


def remote_targets(params: dict[str, Any], file: Path = FILE) -> str | None:
    """The address of remote object storage under `targets`; None where targets lie on disk, in data/targets."""
    value = params.get("targets", ON_DISK)
    return None if value == ON_DISK else address(value, f"{file}: targets: expected {ON_DISK} or")


def address(value: object, expected: str) -> str:
    """What is an address like s3://bucket/prefix; UserError, which begins with what was `expected` where, for anything else."""
    plain = value.rstrip("/") if isinstance(value, str) else ""
    if not ADDRESS.fullmatch(plain):
        raise UserError(f"{expected} an address like s3://bucket/prefix, found {shown(value)}")
    return plain


def settings(params: dict[str, Any], section: str, cls: type[Settings]) -> Settings:
    """One stage's section as its dataclass; an absent section means the defaults."""
    return parse(params.get(section) or {}, section, cls)


def parse(values: object, where: str, cls: type[Settings], file: Path = FILE) -> Settings:
    """A mapping as a dataclass: unknown keys, wrong types and values out of range are refused, with where they stand."""
    if not isinstance(values, dict):
        raise UserError(f"{file}: {where}: expected a mapping, found {shown(values)}")
    refuse_unknown(values, [field.name for field in dataclasses.fields(cls)], f"{file}: {where}")  # type: ignore[arg-type]
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(printable(part) for part in (where, *first["loc"]))
        raise UserError(f"{file}: {key}: {first['msg']}, found {shown(first['input'])}") from error


def refuse_unknown(values: dict[Any, Any], known: Any, where: str) -> None:
    """UserError for a key that is not known, naming the nearest that is."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key)[:100], known, 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise UserError(f"{where}: unknown key `{printable(key)}`: {hint}")


def _refuse_infinite(value: object, where: str) -> None:
    """UserError for NaN and infinity, wherever they stand."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, found {value}")
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        _refuse_infinite(each, f"{where}{'' if where.endswith(' ') else '.'}{printable(key)}")


def _refuse_names(values: dict[Any, Any], where: str) -> None:
    """UserError for a name that means something to a shell, a path or DVC, and for one that two things have."""
    listed = {section: values.get(section) for section in (*NAMED, "data")}
    listed["fit.teachers"] = values["fit"].get("teachers") if isinstance(values.get("fit"), dict) else None
    for section, names in listed.items():
        for name in names if isinstance(names, (dict, list)) else ():
            if not NAME.fullmatch(str(name)):
                raise UserError(
                    f"{where}: {section}: expected names of letters, digits, - and _, which a shell takes as they are, "
                    f"found {shown(name)}: rename it"
                )
    students, baselines = (found if isinstance(found := listed[key], dict) else {} for key in ("students", "baselines"))
    if both := sorted({str(name) for name in students} & {str(name) for name in baselines}):
        raise UserError(
            f"{where}: baselines.{both[0]}: expected another name than a student's, found the same: rename one"
        )
    if isinstance(listed["teachers"], dict) and "truth" in listed["teachers"]:
        raise UserError(f"{where}: teachers.truth: the labels are called so in distill.terms: rename it")


def _count(value: object, known: dict[int, int]) -> int:
    """Values inside, each as often as it would be printed; more than MOST_VALUES for what contains itself."""
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1
        inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        known[id(value)] = 1 + sum(_count(each, known) for each in inside)
    return known[id(value)]
