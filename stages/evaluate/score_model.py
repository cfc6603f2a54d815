"""`pipeline evaluate --model`: any student or teacher on any dataset part, alone or compared with another. Writes no results."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.common.documents import json_bytes
from pipeline.common.files import write_atomically
from pipeline.common.progress import progress
from pipeline.metrics.model_scores import ModelScores
from pipeline.pose.options import Device
from stages.evaluate.inference import detected_people
from stages.evaluate.models import Model, model_named
from stages.evaluate.paper import write_paper
from stages.evaluate.parts import DatasetPart, parts_named, student_skeleton
from stages.evaluate.results import EvaluateSettings, part_document
from stages.evaluate.run import score_part
from stages.evaluate.tables import difference_table, joint_table, keypoint_table, score_table, table_notes
from stages.project.datasets import TEST
from stages.project.project import Project


def run(
    project: Project,
    model: str,
    data: Sequence[str] = (),
    against: str | None = None,
    flip: bool = False,
    device: Device = "auto",
    out: Path | None = None,
    log: Callable[[str], None] = print,
    csv: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Print the model's tables on each part of `data`: DATASET or DATASET:SPLIT, by default all test parts.

    Where it is compared `against` another model, the other's tables and the paired difference are printed too. `out` gets the
    numbers as JSON, `csv` and `latex` the tables. Keypoints are matched by name; those that the model lacks count as missing.
    Detected boxes are scored on test parts that name a file of detections.
    """
    settings = project.section("evaluate", EvaluateSettings)
    parts = parts_named(project, data)
    texts = [text for text in (model, against) if text]
    models = [model_named(project, text, device, settings.flip or flip) for text in texts]
    if len({opened.name for opened in models}) < len(models):  # two files of one name
        models = [replace(opened, name=text) for opened, text in zip(models, texts, strict=True)]
    results = scores_of(project, models, parts, settings.resamples, log)
    document: dict[str, Any] = {}
    for name, scores_by_part in results.items():
        for part in parts:
            scores = scores_by_part[part.title]
            log(f"{name} on {part.title}: {_size(part)}")
            log(score_table(scores))
            log(keypoint_table(scores))
            document.setdefault(name, {})[part.title] = part_document(scores)
    datasets = {part.title: part.dataset for part in parts}
    for part in parts:
        if part.dataset.score == "pckh":
            log(joint_table(results, part.title))
    for opened in models:
        for part in parts:
            lacking = [k for k in part.dataset.skeleton.keypoints if k not in opened.spec.skeleton.keypoints]
            if lacking:
                log(f"{opened.name} does not predict {', '.join(lacking)} of {part.name}: counted as missing")
    if len(results) > 1:
        log(difference_table(dict(reversed(results.items())), datasets))
    for note in table_notes(results, datasets, {part.title: part.truth for part in parts}, settings.resamples):
        log(note)
    write_paper(results, datasets, csv, latex, log)
    if out:
        write_atomically(out, json_bytes(document))
        log(f"numbers: {out}")


def scores_of(
    project: Project,
    models: Sequence[Model],
    parts: Sequence[DatasetPart],
    count: int,
    log: Callable[[str], None],
) -> dict[str, dict[str, ModelScores]]:
    """Score every model on every part with the same `count` resamples. The scores are by model and by the part's title."""
    seed = project.seed
    detected = [detected_people(part.dataset, part.truth, log) if part.split == TEST else None for part in parts]
    people = sum(int(part.truth.use.sum()) for part in parts) + sum(len(boxes.people) for boxes in detected if boxes)
    skeleton = student_skeleton(project, models[0].spec.skeleton)
    results: dict[str, dict[str, ModelScores]] = {model.name: {} for model in models}
    with progress(people * len(models), "evaluating", "people") as bar:
        for model in models:
            for part, boxes in zip(parts, detected, strict=True):
                scores, _ = score_part(model, part, boxes, skeleton, count, seed, bar.update)
                results[model.name][part.title] = scores
    return results


def _size(part: DatasetPart) -> str:
    used = part.truth.rows(part.truth.use)
    return f"{len(used)} people in {len(set(used.image_id.tolist()))} images, annotated boxes"
