"""The teachers that params.yaml lists: their settings, and where their targets lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.errors import UserError
from pipeline.spec import OPTIONAL_KEYS, SPEC_KEYS, NetworkSpec, Precision, parse_spec
from stages.params import refuse_unknown

TARGETS = Path("data/targets")


@dataclass(frozen=True)
class TeacherSettings:
    """An ONNX file, the dataset whose labels it is judged by, its spec, and the precision it is run in."""

    name: str
    onnx: Path
    dataset: str
    spec: NetworkSpec
    precision: Precision


def listed_teachers(params: dict[str, Any]) -> dict[str, Any]:
    """What stands under `teachers`, by name, in the file's order and not yet looked into; UserError if it is no such mapping."""
    teachers = params.get("teachers") or {}
    if not isinstance(teachers, dict):
        raise UserError(f"params.yaml: teachers: expected a mapping, found {teachers!r}")
    for name in teachers:
        if not isinstance(name, str):
            raise UserError(f"params.yaml: teachers: expected texts as names, found {name!r}: put it in quotes")
    return teachers


def teacher_settings(params: dict[str, Any], name: str) -> TeacherSettings:
    """The teacher of that name; UserError lists the known ones, or says which value of its spec is wrong."""
    teachers = listed_teachers(params)
    if name not in teachers:
        known = ", ".join(teachers) if teachers else "none"
        raise UserError(f"params.yaml: unknown teacher `{name}`: expected one of those under `teachers` ({known})")
    values, where = teachers[name], f"params.yaml: teachers.{name}"
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a mapping, found {values!r}")
    refuse_unknown(values, ("onnx", "dataset", "precision", *SPEC_KEYS, *OPTIONAL_KEYS), where)
    for key in ("onnx", "dataset"):
        if not isinstance(values.get(key), str):
            raise UserError(f"{where}.{key}: expected a text, found {values.get(key)!r}")
    precision = values.get("precision", "float32")
    if precision not in get_args(Precision):
        raise UserError(f"{where}.precision: expected one of {', '.join(get_args(Precision))}, found {precision!r}")
    missing = [key for key in SPEC_KEYS if key not in values]
    if missing:
        raise UserError(
            f"{where}: missing {', '.join(missing)}: run `pipeline teacher spec {values['onnx']}`, which proposes them"
        )
    return TeacherSettings(name, Path(values["onnx"]), values["dataset"], parse_spec(values, where), precision)


def store_path(teacher: str, dataset: str, split: str) -> Path:
    """The target store of a teacher over a split of a dataset."""
    return TARGETS / teacher / f"{dataset}-{split}.zarr"


def teach_command(teacher: str) -> str:
    """The command that makes a teacher's stores."""
    return f"pipeline teach --teacher {teacher}"
