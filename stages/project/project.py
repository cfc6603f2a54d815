"""params.yaml as one frozen object: datasets, teachers, students, the unified skeleton. A stage asks it for its own section.

A section is parsed when it is first used, so that a command reports errors in the sections that it uses only; `pipeline validate`,
which runs before every DVC stage, checks datasets, teachers and students.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

from pipeline.common.errors import UserError, printable, short_repr
from pipeline.pose.options import Logger
from pipeline.pose.skeletons import SKELETONS, Skeleton, skeleton_named, union
from stages.project.datasets import DatasetSettings, parse_dataset
from stages.project.parsing import PARAMS_FILE, parse, refuse_unknown, sections_inside
from stages.project.skeletons import all_skeletons
from stages.project.students import StudentConfig
from stages.project.teachers import TeacherSettings, parse_teacher
from stages.project.yaml_files import read_yaml, yaml_text

SECTIONS = (
    "seed",
    "data",
    "sample",
    "skeletons",
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
    "loggers",
)
"""Keys of params.yaml."""
NAMED_SECTIONS = ("skeletons", "datasets", "teachers", "students", "baselines")
"""Sections that are mappings from names to settings."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""Names in NAMED_SECTIONS. DVC puts them into commands that a shell runs, into paths, and into keys of its own with dots."""
FITTED_TEACHERS = Path("data/teachers")
"""Folder of the teachers that `dvc repro` fits."""
TARGETS_ON_DISK = "data/targets"
"""Value of `targets` for stores on disk."""
ADDRESS_PATTERN = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]{1,62}(?:/[A-Za-z0-9_][A-Za-z0-9._=+-]*)*")
"""Address of remote object storage: a bucket and a prefix, without characters that a shell or a path would interpret."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Project:
    """The settings of a project. `load_project` reads one from a file, `project_of` makes one from a mapping."""

    values: Mapping[str, Any]
    """The file's content, of which keys, names and the finiteness of numbers are checked, but nothing else."""

    @property
    def seed(self) -> int:
        """The seed of all random draws."""
        return int(self.values["seed"])

    @cached_property
    def skeletons(self) -> dict[str, Skeleton]:
        """All skeletons by name, the built-in ones and those under `skeletons`; UserError if one of these is wrong."""
        return all_skeletons(self._mapping("skeletons"))

    @cached_property
    def datasets(self) -> dict[str, DatasetSettings]:
        """All datasets by name, in the file's order; UserError if there is none, or one is wrong."""
        entries = self.values.get("datasets")
        if not isinstance(entries, dict) or not entries:
            raise UserError(
                f"{PARAMS_FILE}: datasets: expected at least one dataset, found none: see params/ for examples"
            )
        return {name: parse_dataset(name, value, self.skeletons) for name, value in entries.items()}

    def dataset(self, name: str) -> DatasetSettings:
        """Return the dataset of that name; UserError lists the known ones."""
        if name not in self.datasets:
            raise UserError(f"{PARAMS_FILE}: unknown dataset `{name}`: expected one of {', '.join(self.datasets)}")
        return self.datasets[name]

    @property
    def trained_datasets(self) -> dict[str, DatasetSettings]:
        """The datasets with a file `train`."""
        return {name: dataset for name, dataset in self.datasets.items() if dataset.train}

    @cached_property
    def skeleton(self) -> Skeleton:
        """The student's skeleton: the union over the datasets with training labels, or, if there are only boxes, over the teachers."""
        if not self.trained_datasets:
            raise UserError(f"{PARAMS_FILE}: datasets: expected one with a `train` part, found none")
        skeletons = [dataset.skeleton for dataset in self.trained_datasets.values() if dataset.labels_train]
        if not skeletons:
            entries = [entry for entry in self._mapping("teachers").values() if isinstance(entry, dict)]
            skeletons = [skeleton_named(str(entry.get("skeleton")), self.skeletons) for entry in entries]
        if not skeletons:
            raise UserError(
                f"{PARAMS_FILE}: datasets: expected one with labels, or teachers, to know the student's keypoints from, found neither"
            )
        return dataclasses.replace(union(skeletons), name="unified")

    @property
    def teacher_names(self) -> list[str]:
        """The names of the teachers, in the file's order; UserError if `teachers` is not a mapping."""
        return list(self._mapping("teachers"))

    @cached_property
    def teachers(self) -> dict[str, TeacherSettings]:
        """All teachers by name, in the file's order; UserError if one is wrong."""
        return {name: self.teacher(name) for name in self.teacher_names}

    def teacher(self, name: str) -> TeacherSettings:
        """Return the teacher of that name; UserError lists the known ones, or names the value of its spec that is wrong."""
        entries = self._mapping("teachers")
        if name not in entries:
            known = ", ".join(entries) if entries else "none"
            raise UserError(
                f"{PARAMS_FILE}: unknown teacher `{name}`: expected one of those under `teachers` ({known})"
            )
        return parse_teacher(name, entries[name], self.skeletons)

    def teacher_of_file(self, onnx: Path) -> TeacherSettings | None:
        """Return the teacher of an ONNX file, None if there is none."""
        for name, entry in self._mapping("teachers").items():
            if isinstance(entry, dict) and Path(str(entry.get("onnx"))).resolve() == onnx.resolve():
                return self.teacher(name)
        return None

    @cached_property
    def students(self) -> dict[str, StudentConfig]:
        """All students by name, first those under `students`, then those under `baselines`; UserError if there is none, or one is wrong."""
        students = {
            name: parse(entry, f"{section}.{name}", StudentConfig)
            for section in ("students", "baselines")
            for name, entry in self._mapping(section).items()
        }
        if not students:
            raise UserError(f"{PARAMS_FILE}: students: expected at least one, found none: see params/ for examples")
        return students

    @property
    def main_students(self) -> list[str]:
        """The names of the students without the baselines."""
        return list(self._mapping("students"))

    @property
    def student_names(self) -> list[str]:
        """The names of students and baselines, in the order of `students`."""
        return [*self._mapping("students"), *self._mapping("baselines")]

    def student(self, name: str | None) -> tuple[str, StudentConfig]:
        """Return the student of that name, or the first, with its name; UserError lists the known ones."""
        name = name or next(iter(self.students))
        if name not in self.students:
            raise UserError(f"{PARAMS_FILE}: unknown student `{name}`: expected one of {', '.join(self.students)}")
        return name, self.students[name]

    @property
    def remote_targets(self) -> str | None:
        """The address of remote object storage under `targets`; None if targets are on disk, in data/targets."""
        value = self.values.get("targets", TARGETS_ON_DISK)
        return (
            None
            if value == TARGETS_ON_DISK
            else remote_address(value, f"{PARAMS_FILE}: targets: expected {TARGETS_ON_DISK} or")
        )

    @property
    def sample_folder(self) -> str | None:
        """The folder of the built-in sample, None if the file has no section `sample`."""
        sample = self.values.get("sample")
        folder = sample.get("folder") if isinstance(sample, dict) else None
        return folder if isinstance(folder, str) else None

    @property
    def fitted_teachers(self) -> list[str]:
        """The names of the teachers that `fit` trains."""
        fit = self.values.get("fit")
        names = fit.get("teachers") if isinstance(fit, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def loggers(self) -> tuple[Logger, ...]:
        """The loggers of trainings' metrics besides DVCLive, each once; UserError for one that is not known."""
        names, known = self.values.get("loggers") or [], get_args(Logger)
        if not isinstance(names, list) or any(name not in known for name in names):
            raise UserError(f"{PARAMS_FILE}: loggers: expected a list of {', '.join(known)}, found {short_repr(names)}")
        return tuple(dict.fromkeys(names))

    def section(
        self, name: str, cls: type[Settings], changes: Mapping[str, Any] | None = None, where: str | None = None
    ) -> Settings:
        """Return a section as its dataclass, the defaults if it is absent; UserError names a value that is wrong.

        `changes` replace values of the section, key by key also in the dataclasses inside; `where` is its name in errors then.
        """
        values = self.values.get(name) or {}
        if not changes:
            return parse(values, name, cls)
        if not isinstance(values, dict):
            raise UserError(f"{PARAMS_FILE}: {name}: expected a mapping, found {short_repr(values)}")
        merged = {**values, **changes}
        for inside in sections_inside(cls):
            parts = [mapping[inside] for mapping in (values, changes) if mapping.get(inside) is not None]
            if parts and all(isinstance(part, dict) for part in parts):
                merged[inside] = {key: value for part in parts for key, value in part.items()}
        return parse(merged, where or name, cls)

    def check(self) -> None:
        """Raise UserError if skeletons, datasets, teachers, students or the unified skeleton cannot be made from the file's content."""
        _ = self.skeletons, self.datasets, self.teachers, self.students, self.skeleton
        for name in self.fitted_teachers:
            place = FITTED_TEACHERS / f"{name}.onnx"
            if name in self.teachers and self.teachers[name].onnx != place:
                raise UserError(
                    f"{PARAMS_FILE}: teachers.{name}.onnx: expected {place}, where DVC looks for a teacher under `fit.teachers`, "
                    f"found {self.teachers[name].onnx}"
                )
        if not any(dataset.labels_train for dataset in self.datasets.values()):
            return
        for name, dataset in self.datasets.items():
            if dataset.test and not {*dataset.skeleton.keypoints} & {*self.skeleton.keypoints}:
                raise UserError(
                    f"{PARAMS_FILE}: datasets.{name}.test: expected keypoints that students have, found none of them in "
                    f"{dataset.skeleton.name}: name them alike in `skeletons`, or take the dataset out"
                )

    def as_yaml(self) -> str:
        """Return the file's content as YAML without its comments."""
        return yaml_text(dict(self.values))

    def _mapping(self, section: str) -> dict[str, Any]:
        entries = self.values.get(section) or {}
        if not isinstance(entries, dict):
            raise UserError(
                f"{PARAMS_FILE}: {section}: expected names with their settings, found {short_repr(entries)}"
            )
        return entries


def known_skeletons(path: Path = PARAMS_FILE) -> dict[str, Skeleton]:
    """Return the skeletons of a project by name, the built-in ones where there is no such file."""
    return load_project(path).skeletons if path.is_file() else dict(SKELETONS)


def load_project(path: Path = PARAMS_FILE) -> Project:
    """Read the project of a file; UserError if the file is missing or malformed."""
    if not path.is_file():
        raise UserError(
            f"{path} not found in this folder: run this in the folder that has it, or copy one from params/"
        )
    return project_of(read_yaml(path), path)


def project_of(values: Mapping[str, Any], path: Path = PARAMS_FILE) -> Project:
    """Return the project of a file's content; UserError for unknown sections, numbers that are not finite, and invalid names."""
    values = dict(values)
    refuse_unknown(values, SECTIONS, str(path))
    _refuse_infinite(values, f"{path}: ")
    _refuse_names(values, str(path))
    seed = values.setdefault("seed", 0)
    is_number = isinstance(seed, (int, float)) and not isinstance(seed, bool)
    if not is_number or seed != int(seed) or not 0 <= seed < 2**63:
        raise UserError(f"{path}: seed: expected a whole number from 0 to 2^63 - 1, found {short_repr(seed)}")
    values["seed"] = int(seed)  # `1e3` is a float in YAML
    project = Project(values)
    _ = project.remote_targets
    return project


def remote_address(value: object, expected: str) -> str:
    """Return an address like s3://bucket/prefix without a final slash; for anything else, UserError, which begins with `expected`."""
    plain = value.rstrip("/") if isinstance(value, str) else ""
    if not ADDRESS_PATTERN.fullmatch(plain):
        raise UserError(f"{expected} an address like s3://bucket/prefix, found {short_repr(value)}")
    return plain


def _refuse_infinite(value: object, where: str) -> None:
    """Raise UserError for NaN and infinity anywhere inside."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, found {value}")
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        _refuse_infinite(item, f"{where}{'' if where.endswith(' ') else '.'}{printable(key)}")


def _refuse_names(values: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a name that a shell, a path or DVC would interpret, that is not text, or that is used twice."""
    listed = {section: values.get(section) for section in (*NAMED_SECTIONS, "data")}
    listed["fit.teachers"] = values["fit"].get("teachers") if isinstance(values.get("fit"), dict) else None
    for section, names in listed.items():
        for name in names if isinstance(names, (dict, list)) else ():
            if not isinstance(name, str):
                raise UserError(
                    f'{where}: {section}: expected names that are text, found {short_repr(name)}: write it in quotes, "{printable(name)}"'
                )
            if not NAME_PATTERN.fullmatch(name):
                raise UserError(
                    f"{where}: {section}: expected names of letters, digits, - and _, which a shell takes as they are, "
                    f"found {short_repr(name)}: rename it"
                )
    students, baselines = (value if isinstance(value := listed[key], dict) else {} for key in ("students", "baselines"))
    if both := sorted(students.keys() & baselines.keys()):
        raise UserError(
            f"{where}: baselines.{both[0]}: expected another name than a student's, found the same: rename one"
        )
    if isinstance(listed["teachers"], dict) and "truth" in listed["teachers"]:
        raise UserError(
            f"{where}: teachers.truth: expected another name, as `truth` means the labels in distill.terms: rename it"
        )
