"""`export`: writes a student as an ONNX file, or in rtmlib's form, compares it with torch on real crops, and writes its model card."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically, write_together
from pipeline.common.locks import exclusive
from pipeline.export.int8 import quantise_int8
from pipeline.export.model_card import model_card
from pipeline.export.onnx_export import TESTED_BATCHES, export_onnx
from pipeline.export.rtmlib import RTMLIB_TOLERANCE, RtmlibForm, rtmlib_spec
from pipeline.inference.exported import open_exported
from pipeline.inference.onnx_file import half_precision
from pipeline.inference.predict import crops_of, poses_of_crops
from pipeline.networks.build import Student, load_student
from pipeline.networks.run import forward_of
from pipeline.people.people import People
from pipeline.pose.geometry import apply, regions_of_boxes
from pipeline.pose.spec import NetworkSpec
from stages.export.card import ExportForm, ExportPrecision, collect_card
from stages.project.datasets import TRAIN, load_people
from stages.project.project import Project
from stages.project.students import STUDENTS, recorded_config

CHECKED_PEOPLE = 64
"""Number of training people whose crops an export is checked and calibrated on."""

EXPORTED = Path("data/exported")


def run(
    project: Project,
    student: str | None = None,
    out: Path | None = None,
    log: Callable[[str], None] = print,
    target: ExportForm = "onnx",
    precision: ExportPrecision = "float32",
) -> None:
    """Export one student (the first by default) to data/exported/<name>.onnx, or `out`, and its model card beside it.

    `student` is a name in params.yaml, or the folder of a trained student, such as another seed's or an arm's of the comparison.
    By default the file's name ends in `-rtmlib`, `-float16` or `-int8` where the file is of that form or precision. UserError where
    the output of the file, of a conversion's float32 form, differs from torch's. After any error file and card are what they were before.
    """
    name, folder = _student(project, student)
    loaded = load_student(folder)
    config = recorded_config(folder)
    if config is None and folder == STUDENTS / name:
        config = project.students[name]
    if config is None:
        raise UserError(
            f"{folder / 'student.json'}: expected what it was trained with, under `arm`, found none: train it again"
        )
    if target == "rtmlib" and precision != "float32":
        raise UserError(f"--for rtmlib: expected float32, found {precision}: bins are finer than {precision} can count")
    suffix = "-rtmlib" if target == "rtmlib" else "" if precision == "float32" else f"-{precision}"
    file = out or EXPORTED / f"{name}{suffix}.onnx"
    if file.suffix != ".onnx":
        raise UserError(f"--out: expected a file name that ends in .onnx, found {file}")
    people = _people(config.datasets[0])
    images = project.dataset(config.datasets[0]).images(TRAIN)
    spec = rtmlib_spec(loaded.spec) if target == "rtmlib" else loaded.spec
    crops = _crops(spec, people, images)
    card_file = file.with_suffix(".md")
    with exclusive(file, remove_lock_file=True), tempfile.TemporaryDirectory() as drafts:
        draft = Path(drafts) / file.name
        try:
            difference = _export(loaded, spec, draft, crops, target, precision)
        except UserError as error:
            raise UserError(str(error).replace(str(draft), str(file))) from error
        agreement = _agreement(loaded, draft, people, images) if suffix else None
        card = model_card(collect_card(project, name, folder, config, draft, loaded.spec, target, precision))
        write_together({file: draft.read_bytes(), card_file: card.encode()})
        form = "" if precision == "float32" else "in its float32 form "
        log(
            f"{file}: {len(spec.skeleton)} keypoints, any batch, {form}ONNX Runtime within {difference:.1e} of torch "
            f"on {min(len(people), max(TESTED_BATCHES))} crops"
        )
        if agreement:
            log(agreement)
        if target == "rtmlib":
            log(f"rtmlib: RTMPose({file.name!r}, model_input_size={spec.input_wh})")
    log(f"{card_file}: its model card")


def _student(project: Project, text: str | None) -> tuple[str, Path]:
    """Return name and folder of the student that `text` names, or of the first one."""
    folder = Path(text or "")
    if text is None or text in project.students or not (folder / "student.json").is_file():
        name, _ = project.student(text)
        return name, STUDENTS / name
    below = folder.parts.index(STUDENTS.name) + 1 if STUDENTS.name in folder.parts[:-1] else -1
    return "-".join(folder.parts[below:]), folder


def _people(dataset: str) -> People:
    people = load_people(dataset, TRAIN)
    return people.rows(np.flatnonzero(people.use)[:CHECKED_PEOPLE])


def _crops(spec: NetworkSpec, people: People, images: Path) -> np.ndarray:
    """Return the crops uint8 (N, H, W, 3) of the people's boxes, in the order of the people."""
    ((rows, crops),) = crops_of(spec, people, images, len(people))
    return crops[np.argsort(rows)]


def _export(
    loaded: Student, spec: NetworkSpec, file: Path, crops: np.ndarray, target: ExportForm, precision: ExportPrecision
) -> float:
    """Write the student and return the largest difference from torch, which is that of the float32 file before any conversion."""
    if target == "rtmlib":
        return export_onnx(RtmlibForm(loaded.network, loaded.spec), spec, file, crops, RTMLIB_TOLERANCE)
    if precision == "float32":
        return export_onnx(loaded.network, loaded.spec, file, crops)
    with tempfile.TemporaryDirectory() as folder:
        float32_file = Path(folder) / "float32.onnx"
        difference = export_onnx(loaded.network, loaded.spec, float32_file, crops)
        float16 = precision == "float16"
        model = half_precision(float32_file) if float16 else quantise_int8(float32_file, loaded.spec, crops)
    write_atomically(file, model)
    return difference


def _agreement(loaded: Student, file: Path, people: People, images: Path) -> str:
    """Return how far the file's keypoints are from the student's own, in pixels of the student's crop, as a message."""
    own, own_confidence = poses_of_crops(
        forward_of(loaded.network, loaded.spec), loaded.spec, _crops(loaded.spec, people, images), people.box
    )
    opened = open_exported(file, "cpu")
    crops = _crops(opened.spec, people, images)
    exported, exported_confidence = poses_of_crops(opened.forward(8), opened.spec, crops, people.box)
    affines = loaded.spec.input_from_image(regions_of_boxes(people.box))
    distance = np.linalg.norm(apply(affines, exported) - apply(affines, own), axis=-1)
    median, most = np.quantile(distance, (0.5, 0.95))
    confidence = np.quantile(np.abs(exported_confidence - own_confidence), 0.95)
    return (
        f"half of its keypoints are within {median:.2f} pixels, in the student's crop, of the student's own, 95 % within {most:.2f}; "
        f"95 % of its confidences are within {confidence:.3f}"
    )
