"""What was run, as tables: people, stores and what they were made from, students and their times, versions. Looks, changes nothing."""

import json
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from cache.place import Where, place_of
from cache.reader import read_layout
from cache.targets import TargetLayout
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.report.figures import Table
from stages.datasets import TAUGHT, dataset_settings, load_people
from stages.stores import store_place
from stages.students import STUDENTS, arms
from stages.teachers import listed_teachers, teach_command, teacher_settings

PACKAGES = (
    "pose-fusion",
    "numpy",
    "torch",
    "onnxruntime-gpu",
    "onnxruntime",
    "opencv-python-headless",
    "pycocotools",
    "zarr",
    "dvc",
)
DIGITS = 12
"""Of a sha256 that is shown."""

Say = Callable[[str], None]


def people_table(params: dict[str, Any], say: Say) -> Table:
    """A row per dataset and split."""
    rows = []
    for name, dataset in dataset_settings(params).items():
        for split in dataset.splits:
            try:
                people = load_people(name, split)
            except UserError as error:
                say(str(error))
                continue
            used = people.rows(people.use)
            counts = (len(people), len(used), len(set(used.image.tolist())), int(used.labelled.sum()))
            rows.append([name, split, dataset.format, *(f"{count:,}" for count in counts)])
    heads = ["dataset", "split", "format", "people", "in use", "pictures", "labelled keypoints"]
    return Table("People", heads, rows)


def teacher_table(params: dict[str, Any], say: Say) -> Table:
    """A row per teacher: its file and how it is fed."""
    rows = []
    for name in listed_teachers(params):
        try:
            wanted = teacher_settings(params, name)
        except UserError as error:
            say(str(error))
            continue
        spec, there = wanted.spec, wanted.onnx.is_file()
        size = f"{spec.input_wh[1]} x {spec.input_wh[0]}"
        digest = sha256(wanted.onnx)[:DIGITS] if there else "not here"
        rows.append([name, str(wanted.onnx), digest, spec.skeleton.name, size, spec.kind, wanted.precision])
    return Table("Teachers", ["teacher", "file", "sha256", "skeleton", "input", "kind", "precision"], rows)


def store_table(params: dict[str, Any], say: Say) -> Table:
    """A row per store, with the fingerprint of what it was made from."""
    rows = []
    trained = [name for name, dataset in dataset_settings(params).items() if dataset.train]
    for teacher in listed_teachers(params):
        for dataset in trained:
            for split in TAUGHT:
                path = store_place(params, teacher, dataset, split)
                try:
                    rows.append([teacher, dataset, split, *_store(path, teacher)])
                except UserError as error:
                    say(str(error))
    heads = ["teacher", "dataset", "split", "people x views", "target", "MB", "teacher's file", "people", "pictures"]
    return Table(f"Target stores, and the first {DIGITS} digits of what each was made from", heads, rows)


def _store(path: Where, teacher: str) -> list[str]:
    sizes = place_of(path).sizes()
    if not sizes:
        raise UserError(f"{path}: no such target store: run `{teach_command(teacher)}`")
    layout, fingerprint = read_layout(path, TargetLayout, teach_command(teacher))
    megabytes = sum(sizes.values()) / 1e6
    target = f"{layout.height} x {layout.width}" + (" bins" if layout.separate else "")
    digests = [str(fingerprint.get(key, ""))[:DIGITS] for key in ("teacher", "people", "pictures")]
    return [f"{layout.people:,} x {layout.views}", target, f"{megabytes:.1f}", *digests]


def student_table(params: dict[str, Any], say: Say) -> Table:
    """A row per student that is trained."""
    rows = []
    for name in arms(params):
        again = f"run `pipeline distill --student {name}`"
        path = STUDENTS / name / "student.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            arm, weights = found["arm"], path.with_name("student.safetensors")
            validation = (f"{key} {value:.1f}" for key, value in (found.get("validation") or {}).items())
            height, width = found["spec"]["input"]
            taught = ", ".join(arm["teachers"]) or "none"
            cells = [", ".join(arm["datasets"]), taught, arm["views"], f"{height} x {width}"]
            rows.append([name, *cells, f"{found['seconds']:.0f} s", ", ".join(validation), sha256(weights)[:DIGITS]])
        except OSError:
            say(f"{path}: no such student: {again}")
        except (ValueError, KeyError, TypeError, AttributeError):
            say(f"{path}: expected the settings of a student, found another kind of file: {again}")
    heads = ["student", "datasets", "teachers", "views", "input", "training", "validation", "weights' sha256"]
    return Table("Students", heads, rows)


def version_table() -> Table:
    """Python and packages as they are installed where the report is made."""
    rows = [["python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"]]
    for name in PACKAGES:
        try:
            rows.append([name, metadata.version(name)])
        except metadata.PackageNotFoundError:
            continue
    return Table("Versions where this report was made", ["package", "version"], rows)
