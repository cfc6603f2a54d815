"""Opens students and teachers as models that run on crops: all that params.yaml lists, or the one a user names. Scores nothing."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.inference.exported import exported_spec
from pipeline.inference.session import open_teacher
from pipeline.networks.build import load_student
from pipeline.networks.run import forward_of, torch_device
from pipeline.pose.flip_averaging import Forward
from pipeline.pose.options import Device
from pipeline.pose.spec import NetworkSpec
from stages.project.project import Project
from stages.project.students import SEEDS, STUDENTS
from stages.project.teachers import TeacherSettings

EVALUATION_BATCH = 64
TEACHER_PREFIX = "teacher "
"""Prefix of a teacher's name among the models, since a student may have the same name."""


@dataclass(frozen=True)
class Model:
    """A student or a teacher that is ready to run."""

    name: str
    spec: NetworkSpec
    forward: Forward
    sha256: str
    """Hash of the student's weights, or of the ONNX file."""


def models_of(
    project: Project, student: str | None, device: Device, flip: bool, log: Callable[[str], None]
) -> list[Model]:
    """Open all trained students, or only `student`, then the teachers whose files exist; UserError where there are none."""
    models = []
    for name in [project.student(student)[0]] if student else project.students:
        if student is None and not (STUDENTS / name).is_dir():
            log(f"student {name} is not trained yet and left out: run `pipeline distill --student {name}`")
            continue
        models.append(student_in_folder(STUDENTS / name, device, flip))
    models += teachers_of(project, device, log, flip)
    if not models:
        raise UserError("nothing to evaluate: run `pipeline distill` first")
    return models


def teachers_of(project: Project, device: Device, log: Callable[[str], None], flip: bool = False) -> list[Model]:
    """Open the teachers whose files exist."""
    models = []
    for name in project.teacher_names:
        teacher = project.teacher(name)
        if not teacher.onnx.is_file():
            log(f"teacher {name}: {teacher.onnx} does not exist and is left out")
            continue
        models.append(_teacher(teacher, device, flip))
    return models


def trained_seed(name: str) -> int:
    """Return the seed that a student was trained with."""
    return int(json.loads((STUDENTS / name / "student.json").read_text())["seed"])


def models_by_seed(project: Project, student: str | None, device: Device, flip: bool) -> dict[str, dict[int, Model]]:
    """Open the students that were trained with several seeds, all or only `student`: by name, then by seed, without the first one's.

    They are named with their seed.
    """
    names = [project.student(student)[0]] if student else list(project.students)
    folders = {
        name: sorted(
            (path for path in (STUDENTS / name / SEEDS).glob("*") if path.name.isdecimal()),
            key=lambda path: int(path.name),
        )
        for name in names
    }
    return {
        name: {
            int(path.name): dataclasses.replace(student_in_folder(path, device, flip), name=f"{name}, seed {path.name}")
            for path in of_student
        }
        for name, of_student in folders.items()
        if of_student
    }


def model_named(project: Project, text: str, device: Device, flip: bool) -> Model:
    """Open the model that `text` names: an ONNX file, a student's folder, or a student or teacher of params.yaml.

    An ONNX file is run with the spec of the teacher of params.yaml that names it, or with the spec it carries. `teacher NAME`
    is the teacher where a student has the same name. UserError lists the known names.
    """
    path = Path(text)
    if path.suffix.lower() == ".onnx":
        return _onnx(project, path, device, flip)
    students = project.student_names
    teachers = project.teacher_names
    if text in students:
        return student_in_folder(STUDENTS / text, device, flip)
    if text.removeprefix(TEACHER_PREFIX) in teachers:
        return _teacher(project.teacher(text.removeprefix(TEACHER_PREFIX)), device, flip)
    if path.is_dir():
        return student_in_folder(path, device, flip)
    known = ", ".join([*students, *(TEACHER_PREFIX + name for name in teachers)]) or "none"
    raise UserError(
        f"model `{text}`: expected an ONNX file, a student's folder, or a student or teacher of params.yaml ({known})"
    )


def student_in_folder(folder: Path, device: Device, flip: bool) -> Model:
    """Open a trained student. The model is named like the folder."""
    loaded = load_student(folder)
    spec = _flipped(loaded.spec, flip)
    forward = forward_of(loaded.network.to(torch_device(device)), spec)
    return Model(folder.name, spec, forward, sha256(folder / "student.safetensors"))


def _teacher(teacher: TeacherSettings, device: Device, flip: bool) -> Model:
    spec = _flipped(teacher.spec, flip)
    opened = open_teacher(teacher.name, teacher.onnx, spec, device, precision=teacher.precision)
    return Model(TEACHER_PREFIX + teacher.name, spec, opened.forward(EVALUATION_BATCH), opened.sha256)


def _onnx(project: Project, path: Path, device: Device, flip: bool) -> Model:
    if not path.is_file():
        raise UserError(f"{path} does not exist: name an ONNX file that does, or a student or teacher of params.yaml")
    if teacher := project.teacher_of_file(path):
        return dataclasses.replace(_teacher(teacher, device, flip), name=path.name)
    spec = _flipped(exported_spec(path), flip)
    opened = open_teacher(path.stem, path, spec, device)
    return Model(path.name, spec, opened.forward(EVALUATION_BATCH), opened.sha256)


def _flipped(spec: NetworkSpec, flip: bool) -> NetworkSpec:
    return dataclasses.replace(spec, flip=True) if flip else spec
