"""Students and teachers as models that can be run on crops: all that params.yaml lists, or the one a user names. Not what they score."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.flip import Forward
from pipeline.networks.build import load_student
from pipeline.networks.run import Device, forward_of, torch_device
from pipeline.spec import NetworkSpec
from pipeline.teachers.exported import exported_spec
from pipeline.teachers.session import open_teacher
from stages.students import STUDENTS, arm_named, arms
from stages.teachers import TeacherSettings, listed_teachers, teacher_settings

BATCH = 64
TEACHER = "teacher "
"""What a teacher's name is led by among the models, since a student may have the same."""


@dataclass(frozen=True)
class Model:
    """A student or a teacher, ready to be run."""

    name: str
    spec: NetworkSpec
    forward: Forward
    sha256: str
    """Of its weights, or of its ONNX file."""


def models_of(
    params: dict[str, Any], student: str | None, device: Device, flip: bool, say: Callable[[str], None]
) -> list[Model]:
    """All students that are trained, or that one, then the teachers whose files are here; UserError where there are none."""
    models = []
    for name in [arm_named(params, student)[0]] if student else arms(params):
        if student is None and not (STUDENTS / name).is_dir():
            say(f"student {name} is not trained yet and left out: run `pipeline distill --student {name}`")
            continue
        models.append(_student(name, STUDENTS / name, device, flip))
    for name in listed_teachers(params):
        wanted = teacher_settings(params, name)
        if not wanted.onnx.is_file():
            say(f"teacher {name}: {wanted.onnx} is not here and left out")
            continue
        models.append(_teacher(wanted, device, flip))
    if not models:
        raise UserError("nothing to evaluate: run `pipeline distill` first")
    return models


def model_named(params: dict[str, Any], text: str, device: Device, flip: bool) -> Model:
    """The model that `text` names: an ONNX file, a student's folder, or a student or teacher of params.yaml.

    An ONNX file is read under the spec of the teacher that names it, or under the one it carries. `teacher NAME` is a
    teacher where a student has its name too. UserError says what there is.
    """
    path = Path(text)
    if path.suffix.lower() == ".onnx":
        return _onnx(params, path, device, flip)
    students = [*(params.get("students") or {}), *(params.get("baselines") or {})]
    teachers = list(listed_teachers(params))
    if text in students:
        return _student(text, STUDENTS / text, device, flip)
    if text.removeprefix(TEACHER) in teachers:
        return _teacher(teacher_settings(params, text.removeprefix(TEACHER)), device, flip)
    if path.is_dir():
        return _student(path.name, path, device, flip)
    known = ", ".join([*students, *(TEACHER + name for name in teachers)]) or "none"
    raise UserError(
        f"model `{text}`: expected an ONNX file, a student's folder, or a student or teacher of params.yaml ({known})"
    )


def _student(name: str, folder: Path, device: Device, flip: bool) -> Model:
    loaded = load_student(folder)
    spec = _flipped(loaded.spec, flip)
    forward = forward_of(loaded.network.to(torch_device(device)), spec)
    return Model(name, spec, forward, sha256(folder / "student.safetensors"))


def _teacher(wanted: TeacherSettings, device: Device, flip: bool) -> Model:
    spec = _flipped(wanted.spec, flip)
    opened = open_teacher(wanted.name, wanted.onnx, spec, device, precision=wanted.precision)
    return Model(TEACHER + wanted.name, spec, opened.forward(BATCH), opened.sha256)


def _onnx(params: dict[str, Any], path: Path, device: Device, flip: bool) -> Model:
    if not path.is_file():
        raise UserError(f"{path} does not exist: name an ONNX file that does, or a student or teacher of params.yaml")
    for name, values in listed_teachers(params).items():
        if isinstance(values, dict) and Path(str(values.get("onnx"))).resolve() == path.resolve():
            wanted = teacher_settings(params, name)
            return dataclasses.replace(_teacher(wanted, device, flip), name=path.name)
    spec = _flipped(exported_spec(path), flip)
    opened = open_teacher(path.stem, path, spec, device)
    return Model(path.name, spec, opened.forward(BATCH), opened.sha256)


def _flipped(spec: NetworkSpec, flip: bool) -> NetworkSpec:
    return dataclasses.replace(spec, flip=True) if flip else spec
