"""Collects the facts of a student's model card: its data, teachers and licences from the project, its scores from metrics.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import onnx

from pipeline.common.files import sha256
from pipeline.export.compatibility import oldest_runtime
from pipeline.export.model_card import ModelCard
from pipeline.export.rtmlib import rtmlib_spec
from pipeline.pose.spec import NetworkSpec
from stages.project.datasets import TEST, TRAIN, DatasetSettings, load_people, table_path
from stages.project.project import Project
from stages.project.students import STUDENTS, StudentConfig
from stages.training.initial_weights import describe_initial_weights

TRUTH = "truth"
"""Name of the labels among the terms of the loss."""

METRICS_FILE = Path("results/metrics.json")

OTHER_METRICS = ("average", "validation", "intervals", "keypoints", "missed", "seeds", "difference", "sha256")
"""The keys that metrics.json has for a model beside the names of its datasets."""

ExportForm = Literal["onnx", "rtmlib"]
"""Whose input and output an exported file has: the student's, or those that rtmlib's `RTMPose` class expects."""

ExportPrecision = Literal["float32", "float16", "int8"]
"""What the weights of an exported file are stored in."""

AI_CHALLENGER = "AI Challenger: see the terms of that competition."
LICENCES = {
    "coco": "COCO: annotations CC BY 4.0; each image keeps the licence its photographer gave it (`license` in the annotation file).",
    "mpii": "MPII Human Pose: for non-commercial research only, and so what was learned from it.",
    "mpii-release": "MPII Human Pose: for non-commercial research only, and so what was learned from it.",
    "halpe": "Halpe-FullBody: see its project page; its images are COCO's and HICO-DET's.",
    "aic": AI_CHALLENGER,
    "aic-release": AI_CHALLENGER,
    "crowdpose": "CrowdPose: see its project page; its images are COCO's, MPII's and AI Challenger's.",
    "boxes": "Images with boxes of the user's own: as their owner permits.",
    "sample": "The built-in sample is drawn by this project: Apache-2.0.",
}
"""The licence of a dataset's annotations and images, by its format; for datasets whose entries give none."""


def collect_card(
    project: Project,
    name: str,
    folder: Path,
    config: StudentConfig,
    file: Path,
    student: NetworkSpec,
    target: ExportForm,
    precision: ExportPrecision,
) -> ModelCard:
    """Return the facts of the card of an exported `file`.

    `folder` is the student's, `config` what it was trained with, and `student` the spec of the student itself.
    """
    spec = rtmlib_spec(student) if target == "rtmlib" else student
    datasets = project.datasets
    document = json.loads((folder / "student.json").read_text())
    counted = _counted_terms(document, config)
    teachers = [
        project.teacher(teacher)
        for teacher in config.teachers
        if teacher in project.teacher_names and teacher in counted
    ]
    sources = [*config.datasets, *(teacher.dataset for teacher in teachers)]
    learned_keypoints = {
        k
        for name in config.datasets
        if name in datasets and TRUTH in counted
        for k in datasets[name].labels_of(TRAIN).keypoints
    }
    learned_keypoints |= {k for teacher in teachers for k in teacher.spec.skeleton.keypoints}
    learned = [_learned_from(datasets, dataset, TRUTH in counted) for dataset in config.datasets]
    learned += [
        f"Maps of teacher {teacher.name} on these images: a network for {teacher.dataset}, "
        f"keypoints {teacher.spec.skeleton.name}."
        for teacher in teachers
    ]
    learned += [
        f"Maps of teacher {teacher} on these images, which params.yaml no longer has: the licence of its data is not known here."
        for teacher in config.teachers
        if teacher not in project.teacher_names and teacher in counted
    ]
    licences = {line for dataset in sources for line in _licences(project, datasets, dataset)}
    start = describe_initial_weights(document.get("start"))
    if start is not None:
        learned.append(start[0])
        licences.add(start[1])
    scores, note = _scores(datasets, name, folder, target, precision)
    return ModelCard(
        student=name,
        file=file.name,
        folder=folder.as_posix(),
        spec=spec,
        outputs=_output_shapes(file),
        runtime=oldest_runtime(onnx.load(file, load_external_data=False)),
        rtmlib=target == "rtmlib",
        equal_maxima=student.kind == "heatmap_logits",
        precision=precision,
        unlearned=[k for k in spec.skeleton.keypoints if k not in learned_keypoints],
        started_from_student=start is not None and not Path(document["start"]["file"]).suffix,
        learned=learned,
        scores=scores,
        note=note,
        licences=[*sorted(licences), "The code that made it: Apache-2.0."],
    )


def _counted_terms(document: Mapping[str, Any], config: StudentConfig) -> set[str]:
    """Return which of the labels (TRUTH) and the teachers counted in the loss: those whose recorded weight is not 0."""
    settings = document.get("settings") or {}
    weights = settings.get("terms") or {}
    return {term for term in (TRUTH, *config.teachers) if settings.get("preset") or weights.get(term, 1) != 0}


def _learned_from(datasets: Mapping[str, DatasetSettings], name: str, labels_count: bool) -> str:
    """Return a sentence on what the student learned from a dataset."""
    train = datasets[name].train if name in datasets else None
    labelled = labels_count and (name not in datasets or datasets[name].labels_train)
    data = "Labels and images" if labelled else "Images and boxes, without labels,"
    return f"{data} of {name} (`{train.file}`)." if train else f"{data} of {name}."


def _licences(project: Project, datasets: Mapping[str, DatasetSettings], name: str) -> list[str]:
    """Return the line on a dataset's licence: what its entry says, else that of its format; none for one that params.yaml lacks."""
    if name not in datasets:
        return []
    dataset, sample = datasets[name], project.sample_folder
    if dataset.licence is not None:
        return [f"{name}: {dataset.licence}"]
    if sample and Path(dataset.annotations).is_relative_to(sample):
        return [LICENCES["sample"]]
    return [LICENCES[dataset.format]]


def _scores(
    datasets: Mapping[str, DatasetSettings], name: str, folder: Path, target: ExportForm, precision: ExportPrecision
) -> tuple[dict[str, dict[str, str]], str]:
    """Return the student's scores from metrics.json, and a note on what they are of, or on why there are none."""
    remedy = f"`pipeline evaluate`, then `pipeline export --student {name}` again, adds them here."
    if folder != STUDENTS / name:
        return (
            {},
            "Not one of the students that `pipeline evaluate` scores: `pipeline evaluate --model` with this file does.",
        )
    if not METRICS_FILE.is_file():
        return {}, f"Not scored when it was exported: {remedy}"
    metrics: dict[str, Any] = json.loads(METRICS_FILE.read_text()).get(name)
    if not metrics:
        return {}, f"`{METRICS_FILE}` has no scores of this student: {remedy}"
    weights, scored_weights = folder / "student.safetensors", metrics.get("sha256")
    if scored_weights not in (None, sha256(weights)):
        return {}, f"`{METRICS_FILE}` has scores of another training of this student: {remedy}"
    if scored_weights is None and METRICS_FILE.stat().st_mtime < weights.stat().st_mtime:
        return {}, f"`{METRICS_FILE}` is older than this student: {remedy}"
    intervals = metrics.get("intervals", {})
    scores = {
        _test_data(datasets, dataset): {
            key: _score(value, intervals.get(dataset, {}).get(key)) for key, value in values.items()
        }
        for dataset, values in metrics.items()
        if dataset not in OTHER_METRICS
    }
    note = f"0 to 100, from `{METRICS_FILE}`, with intervals of 95 % where it has them: the float32 student in annotated boxes."
    if scored_weights is None:
        note += " That file does not tell which weights it is of: the last evaluated ones of this name."
    if target == "rtmlib" or precision != "float32":
        note += " `pipeline evaluate --model` scores this file itself."
    return scores, note


def _test_data(datasets: Mapping[str, DatasetSettings], name: str) -> str:
    """Return a dataset's name with its test annotations and the number of people that are scored."""
    test = datasets[name].test if name in datasets else None
    if test is None:
        return name
    path = table_path(name, TEST, "people")
    count = f", {int(load_people(name, TEST).use.sum())} people" if path.is_file() else ""
    return f"{name} (`{test.file}`{count})"


def _score(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "none"
    known = interval is not None and None not in interval
    return f"{value:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if known and interval else "")


def _output_shapes(file: Path) -> dict[str, list[int]]:
    """Return the shapes of the file's outputs, without the batch, by name."""
    return {
        output.name: [d.dim_value for d in output.type.tensor_type.shape.dim[1:]]
        for output in onnx.load(file, load_external_data=False).graph.output
    }
