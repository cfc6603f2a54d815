"""Tables of what was run: people, stores and what they were made from, students and their times, versions. Changes nothing."""

import json
import platform
from collections.abc import Callable
from importlib import metadata

from cache.backend import StoreLocation, backend_of
from cache.reader import read_layout
from cache.targets import TargetLayout
from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.report.figures import Table
from stages.project.datasets import TAUGHT_SPLITS, load_people
from stages.project.project import Project
from stages.project.students import STUDENTS
from stages.project.teachers import teach_command
from stages.stores.targets import store_location

REPORTED_PACKAGES = (
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
HASH_DIGITS = 12
"""Digits that are shown of a sha256."""

Log = Callable[[str], None]
"""Called with a message in one line."""


def people_table(project: Project, log: Log) -> Table:
    """Return a row per dataset and split."""
    rows = []
    for name, dataset in project.datasets.items():
        for split in dataset.splits:
            try:
                people = load_people(name, split)
            except UserError as error:
                log(str(error))
                continue
            used = people.rows(people.use)
            counts = (len(people), len(used), len(set(used.image.tolist())), int(used.labelled.sum()))
            rows.append([name, split, dataset.format, *(f"{count:,}" for count in counts)])
    heads = ["dataset", "split", "format", "people", "in use", "images", "labelled keypoints"]
    return Table("People", heads, rows)


def teacher_table(project: Project, log: Log) -> Table:
    """Return a row per teacher: its file and its input."""
    rows = []
    for name in project.teacher_names:
        try:
            teacher = project.teacher(name)
        except UserError as error:
            log(str(error))
            continue
        spec = teacher.spec
        size = f"{spec.input_wh[1]} x {spec.input_wh[0]}"
        digest = sha256(teacher.onnx)[:HASH_DIGITS] if teacher.onnx.is_file() else "missing"
        rows.append([name, str(teacher.onnx), digest, spec.skeleton.name, size, spec.kind, teacher.precision])
    return Table("Teachers", ["teacher", "file", "sha256", "skeleton", "input", "kind", "precision"], rows)


def store_table(project: Project, log: Log) -> Table:
    """Return a row per store, with the fingerprints of what it was made from."""
    rows = []
    for teacher in project.teacher_names:
        for dataset in project.trained_datasets:
            for split in TAUGHT_SPLITS:
                path = store_location(project, teacher, dataset, split)
                try:
                    rows.append([teacher, dataset, split, *_store(path, teacher)])
                except UserError as error:
                    log(str(error))
    heads = ["teacher", "dataset", "split", "people x views", "target", "MB", "teacher's file", "people", "images"]
    return Table(f"Target stores, and the first {HASH_DIGITS} digits of what each was made from", heads, rows)


def _store(path: StoreLocation, teacher: str) -> list[str]:
    sizes = backend_of(path).sizes()
    if not sizes:
        raise UserError(f"{path}: no such target store: run `{teach_command(teacher)}`")
    layout, fingerprint = read_layout(path, TargetLayout, teach_command(teacher))
    megabytes = sum(sizes.values()) / 1e6
    target = f"{layout.height} x {layout.width}" + (" bins" if layout.separate else "")
    digests = [str(fingerprint.get(key, ""))[:HASH_DIGITS] for key in ("teacher", "people", "pictures")]
    return [f"{layout.people:,} x {layout.views}", target, f"{megabytes:.1f}", *digests]


def student_table(project: Project, log: Log) -> Table:
    """Return a row per trained student."""
    rows = []
    for name in project.students:
        remedy = f"run `pipeline distill --student {name}`"
        path = STUDENTS / name / "student.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            settings, digest = document["arm"], sha256(path.with_name("student.safetensors"))[:HASH_DIGITS]
            validation = (f"{key} {value:.1f}" for key, value in (document.get("validation") or {}).items())
            height, width = document["spec"]["input"]
            teachers = ", ".join(settings["teachers"]) or "none"
            cells = [", ".join(settings["datasets"]), teachers, settings["views"], f"{height} x {width}"]
            rows.append([name, *cells, f"{document['seconds']:.0f} s", ", ".join(validation), digest])
        except OSError:
            log(f"{path}: no such student: {remedy}")
        except (ValueError, KeyError, TypeError, AttributeError):
            log(f"{path}: expected the settings of a student, found another kind of file: {remedy}")
    heads = ["student", "datasets", "teachers", "views", "input", "training", "validation", "weights' sha256"]
    return Table("Students", heads, rows)


def version_table() -> Table:
    """Return the versions of Python and of packages where the report is made."""
    rows = [["python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"]]
    for name in REPORTED_PACKAGES:
        try:
            rows.append([name, metadata.version(name)])
        except metadata.PackageNotFoundError:
            continue
    return Table("Versions where this report was made", ["package", "version"], rows)
