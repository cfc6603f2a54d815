"""`pipeline evaluate --model`: any student or teacher on any dataset part, alone or against another. Changes no results."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.files import write_atomically
from pipeline.networks.run import Device
from stages.datasets import TEST
from stages.evaluate import score_part
from stages.evaluation.inference import detected_people
from stages.evaluation.models import Model, model_named
from stages.evaluation.parts import DatasetPart, parts_named, student_skeleton
from stages.evaluation.results import (
    EvaluateSettings,
    as_json,
    difference_table,
    joint_table,
    keypoint_table,
    notes,
    part_values,
    score_table,
)
from stages.evaluation.scored import Scored
from stages.params import settings
from stages.progress import progress


def run(
    params: dict[str, Any],
    model: str,
    data: Sequence[str] = (),
    against: str | None = None,
    flip: bool = False,
    device: Device = "auto",
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Print the model's tables on each part of `data` (DATASET or DATASET:SPLIT, by default all test parts), and where it is
    compared `against` another model, the other's and their paired difference; to `out` as JSON if it is given.

    Keypoints are matched by name; those the model lacks count as missing. Detected boxes are scored on test parts that name some.
    """
    chosen = settings(params, "evaluate", EvaluateSettings)
    parts = parts_named(params, data)
    texts = [text for text in (model, against) if text]
    models = [model_named(params, text, device, chosen.flip or flip) for text in texts]
    if len({one.name for one in models}) < len(models):  # two files of one name
        models = [replace(one, name=text) for one, text in zip(models, texts, strict=True)]
    results = scores_of(params, models, parts, chosen.resamples)
    document: dict[str, Any] = {}
    for name, of_parts in results.items():
        for part in parts:
            found = of_parts[part.title]
            say(f"{name} on {part.title}: {_size(part)}")
            say(score_table(found))
            say(keypoint_table(found))
            document.setdefault(name, {})[part.title] = part_values(found)
    titled = {part.title: part.dataset for part in parts}
    for part in parts:
        if part.dataset.score == "pckh":
            say(joint_table(results, part.title))
    for one in models:
        for part in parts:
            lacking = [k for k in part.dataset.skeleton.keypoints if k not in one.spec.skeleton.keypoints]
            if lacking:
                say(f"{one.name} knows no {', '.join(lacking)} of {part.name}: counted as missing")
    if len(results) > 1:
        say(difference_table(dict(reversed(results.items())), titled))
    for note in notes(results, titled, {part.title: part.truth for part in parts}, chosen.resamples):
        say(note)
    if out:
        write_atomically(out, as_json(document))
        say(f"numbers: {out}")


def scores_of(
    params: dict[str, Any], models: Sequence[Model], parts: Sequence[DatasetPart], count: int
) -> dict[str, dict[str, Scored]]:
    """Every model on every part, by model and by the part's title, on the same `count` resamples."""
    seed = int(params.get("seed", 0))
    detected = [detected_people(part.dataset, part.truth) if part.split == TEST else None for part in parts]
    people = sum(int(part.truth.use.sum()) for part in parts) + sum(len(boxes.people) for boxes in detected if boxes)
    skeleton = student_skeleton(params, models[0].spec.skeleton)
    results: dict[str, dict[str, Scored]] = {model.name: {} for model in models}
    with progress(people * len(models), "evaluating", "people") as bar:
        for model in models:
            for part, boxes in zip(parts, detected, strict=True):
                results[model.name][part.title] = score_part(model, part, boxes, skeleton, count, seed, bar.update)[0]
    return results


def _size(part: DatasetPart) -> str:
    used = part.truth.rows(part.truth.use)
    return f"{len(used)} people in {len(set(used.image_id.tolist()))} pictures, annotated boxes"
