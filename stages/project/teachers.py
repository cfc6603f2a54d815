"""The teachers that params.yaml lists: their settings, and the paths of their target stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipeline.common.errors import UserError, short_repr
from pipeline.pose.options import TeacherPrecision
from pipeline.pose.skeletons import SKELETONS, Skeleton
from pipeline.pose.spec import OPTIONAL_KEYS, SPEC_KEYS, NetworkSpec, parse_spec
from stages.project.parsing import refuse_unknown

TARGETS = Path("data/targets")
"""Folder of the target stores, and of the pointers to remote ones."""


@dataclass(frozen=True)
class TeacherSettings:
    """A teacher: an ONNX file and how it is run."""

    name: str
    onnx: Path
    dataset: str
    """Name of the dataset on whose labels it is scored."""
    spec: NetworkSpec
    precision: TeacherPrecision


def parse_teacher(name: str, values: object, skeletons: Mapping[str, Skeleton] = SKELETONS) -> TeacherSettings:
    """Return a teacher of params.yaml, of one of `skeletons`; UserError names the value that is wrong."""
    where = f"params.yaml: teachers.{name}"
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a mapping, found {short_repr(values)}")
    refuse_unknown(values, ("onnx", "dataset", "precision", *SPEC_KEYS, *OPTIONAL_KEYS), where)
    for key in ("onnx", "dataset"):
        if not isinstance(values.get(key), str):
            raise UserError(f"{where}.{key}: expected a text, found {short_repr(values.get(key))}")
    precision = values.get("precision", "float32")
    if precision not in get_args(TeacherPrecision):
        raise UserError(
            f"{where}.precision: expected one of {', '.join(get_args(TeacherPrecision))}, found {short_repr(precision)}"
        )
    missing = [key for key in SPEC_KEYS if key not in values]
    if missing:
        raise UserError(
            f"{where}: missing {', '.join(missing)}: run `pipeline teacher spec {values['onnx']}`, which proposes them"
        )
    spec = parse_spec(values, where, skeletons=skeletons)
    return TeacherSettings(name, Path(values["onnx"]), values["dataset"], spec, precision)


def store_path(teacher: str, dataset: str, split: str) -> Path:
    """Return the path of a teacher's target store for a split of a dataset."""
    return TARGETS / teacher / f"{dataset}-{split}.zarr"


def teach_command(teacher: str) -> str:
    """Return the command that writes a teacher's stores."""
    return f"pipeline teach --teacher {teacher}"
