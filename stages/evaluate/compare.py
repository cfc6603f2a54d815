"""`pipeline compare`: models against the first one, score by score and keypoint by keypoint, with paired intervals. Writes no results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.common.documents import csv_bytes, markdown_table
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.progress import progress
from pipeline.metrics.bootstrap import Score, draw_resamples
from pipeline.metrics.keypoint_scores import keypoint_scores
from pipeline.metrics.model_scores import ModelScores
from pipeline.pose.options import Device
from stages.evaluate.models import model_named
from stages.evaluate.parts import parts_named, student_skeleton
from stages.evaluate.results import EvaluateSettings, differences_from
from stages.evaluate.run import part_stream, score_part
from stages.evaluate.tables import difference_table, signed, table_notes, with_margin
from stages.project.project import Project

CSV_COLUMNS = ("model", "against", "score", "keypoint", "difference", "low", "high")

ByKeypoint = Mapping[str, Mapping[str, Score]]
"""Scores by model, then by keypoint."""


def run(
    project: Project,
    names: Sequence[str],
    data: Sequence[str] = (),
    flip: bool = False,
    device: Device = "auto",
    csv: Path | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Print the differences of the models from the first one on each part of `data`, by default all test parts.

    A model is an ONNX file, a student's folder, or a student or teacher of params.yaml. All are scored on the same resamples of the
    images, so that the intervals are of the differences themselves. `csv` gets all of them as numbers.
    """
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError(f"expected different models to compare, found {', '.join(names)}: name two or more")
    settings = project.section("evaluate", EvaluateSettings)
    parts = parts_named(project, data)
    models = [replace(model_named(project, name, device, settings.flip or flip), name=name) for name in names]
    skeleton = student_skeleton(project, models[0].spec.skeleton)
    results: dict[str, dict[str, ModelScores]] = {name: {} for name in names}
    keypoints: dict[str, dict[str, Mapping[str, Score]]] = {}
    with progress(sum(int(part.truth.use.sum()) for part in parts) * len(models), "evaluating", "people") as bar:
        for part in parts:
            resamples = draw_resamples(part.truth.image_id, settings.resamples, part_stream(project.seed, part))
            for model in models:
                scores, poses = score_part(model, part, None, skeleton, settings.resamples, project.seed, bar.update)
                results[model.name][part.title] = scores
                key, by_keypoint = keypoint_scores(part.dataset.score, part.truth, poses, resamples)
                keypoints.setdefault(f"{part.title} {key}", {})[model.name] = by_keypoint
    datasets = {part.title: part.dataset for part in parts}
    log(difference_table(results, datasets))
    for title, by_model in keypoints.items():
        log(keypoint_differences(title, by_model))
    for note in table_notes(results, datasets, {part.title: part.truth for part in parts}, settings.resamples):
        log(note)
    if csv:
        first, *others = names
        rows = []
        for name in others:
            main = differences_from(results[first], results[name], datasets)
            rows += [_row(name, first, score, "", difference) for score, difference in main.items()]
            for title, by_model in keypoints.items():
                rows += [
                    _row(name, first, title, k, score.minus(by_model[first][k])) for k, score in by_model[name].items()
                ]
        write_atomically(csv, csv_bytes(CSV_COLUMNS, rows))
        log(f"table: {csv}")


def keypoint_differences(title: str, scores: ByKeypoint) -> str:
    """Return Markdown with a row per keypoint: the first model's score, and the others' differences; bold where they exclude 0."""
    first, *others = scores
    rows = [
        [k, with_margin(replace(value, resampled=np.zeros(0))), *(signed(scores[o][k].minus(value)) for o in others)]
        for k, value in scores[first].items()
    ]
    return markdown_table([title, first, *(f"{other} less {first}" for other in others)], rows)


def _row(model: str, against: str, score: str, keypoint: str, difference: Score) -> dict[str, str]:
    numbers = zip(("difference", "low", "high"), (difference.value, *difference.interval), strict=True)
    named = {"model": model, "against": against, "score": score, "keypoint": keypoint}
    return {**named, **{name: "" if np.isnan(value) else f"{value:.3f}" for name, value in numbers}}
