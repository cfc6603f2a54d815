"""A project as `evaluate` leaves it, made by hand: two datasets, two students and a teacher of known errors, hostile names included."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17
from stages import prepare
from stages.evaluate.curves import write_curves
from stages.evaluate.poses import poses_path, write_poses
from stages.project.datasets import load_people
from stages.project.project import Project
from stages.report import run as report
from stages.teach import run as teach
from tests.fixtures import coco_document, make_project, params, write_image

HOSTILE = "<script>document.title='hacked'<script><img src=x onerror=alert(1)>&amp;.jpg"
"""An image's file name: one dataset has people in it alone."""
BASELINE = "<b>two"
MODELS = ("one", BASELINE, "teacher tiny")
DATASETS = ("coco", "other")
PICTURES, PEOPLE = 6, 2


def report_params(**changes: Any) -> dict[str, Any]:
    """The tiny project with test parts and students; both datasets read COCO files, `other` only to be tested on."""
    other = {"format": "coco", "annotations": "annotations", "score": "ap"}
    return params(
        datasets__coco__test={"file": "train.json", "images": "pictures"},
        datasets__other={**other, "test": {"file": "hostile.json", "images": "pictures"}},
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        baselines={BASELINE: {"datasets": ["coco"]}},
        **{"report": {"people": 1, "target_examples": 1}, **changes},
    )


def make_report_project(folder: Path) -> None:
    """Everything that the report reads, below `folder`, which is the current one."""
    make_project(folder, PICTURES, PEOPLE)
    document = coco_document(1, 6)
    document["images"][0]["file_name"] = HOSTILE
    (folder / "annotations/hostile.json").write_text(json.dumps(document))
    write_image(folder / "pictures" / HOSTILE, "hostile")
    silent = {"log": lambda line: None}
    prepare.run(Project(report_params()), **silent)
    teach.run(Project(report_params()), "tiny", "cpu", **silent)
    for name in ("one", BASELINE):
        write_student(folder / "data/students" / name, ["tiny"] if name == "one" else [])
    truths = {name: load_people(name, "test") for name in DATASETS}
    shown = {name: {model: shifted(truth, n) for n, model in enumerate(MODELS, 1)} for name, truth in truths.items()}
    for name, models in shown.items():
        write_poses(poses_path(name), models)
    write_curves(truths, shown)
    report.METRICS_FILE.parent.mkdir(parents=True)
    report.METRICS_FILE.write_text(json.dumps(metrics()))


def write_student(folder: Path, teachers: list[str]) -> None:
    """The files of a trained student, as far as the report looks into them."""
    folder.mkdir(parents=True)
    arm = {"datasets": ["coco"], "teachers": teachers, "views": "replayed"}
    document = {"spec": {"input": [64, 32]}, "arm": arm, "validation": {"coco": 12.345}, "seconds": 71.6}
    (folder / "student.json").write_text(json.dumps(document))
    (folder / "student.safetensors").write_bytes(b"weights")
    terms = ["total", "truth", *teachers]
    lines = [",".join(["step", *terms]), *(",".join([str(n), *[str(3 / n)] * len(terms)]) for n in (1, 2, 3))]
    (folder / "curve.csv").write_text("\n".join(lines) + "\n")


def shifted(truth: People, factor: float) -> Poses:
    """Every keypoint of the n-th person in use n x `factor` percent of the longer box side to the right of its label."""
    truth = truth.rows(truth.use)
    shift = factor * np.arange(len(truth)) / 100 * truth.box[:, 2:].max(axis=1)
    keypoints = truth.keypoints + np.stack([shift, np.zeros(len(truth))], axis=1)[:, None]
    confidence = np.full(truth.labelled.shape, 0.75)
    return Poses(COCO17, truth.image_id, keypoints, confidence, confidence.mean(axis=1), truth.person)


def metrics() -> dict[str, Any]:
    """The document of results/metrics.json with round numbers: APs of 50, 40 and 70, give or take 2."""
    document: dict[str, Any] = {}
    for model, ap in zip(MODELS, (50.0, 40.0, 70.0), strict=True):
        k = len(COCO17)
        columns = {"keypoint": list(COCO17.keypoints), "labelled": [9] * k, "error": [3.5] * k, "PCK@0.1": [ap] * k}
        document[model] = {
            **{name: {"AP": ap, "AP50": ap + 5, "PCK@0.1": ap, "NME": 3.5} for name in DATASETS},
            "average": ap,
            "validation": {"coco": ap - 1},
            "intervals": {"average": [ap - 2, ap + 2], **{name: {"AP": [ap - 2, ap + 2]} for name in DATASETS}},
            "keypoints": dict.fromkeys(DATASETS, columns),
        }
        if model != "one":
            low, high = (ap - 50 - 1, ap - 50 + 1) if model == BASELINE else (-3.0, 43.0)
            document[model]["difference"] = {"from": "one", "coco AP": [ap - 50, low, high]}
    return document
