"""Stage `evaluate`: students and teachers on every dataset's test people; metrics, tables, their poses and PCK curves."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.lock import exclusive
from pipeline.files import replace_folder, write_atomically
from pipeline.networks.run import Device, torch_device
from pipeline.scores.bootstrap import resample
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton
from stages.datasets import TEST, VALIDATION, dataset_settings, load_people, unified
from stages.evaluation.curves import CURVES, write_curves
from stages.evaluation.inference import DetectedPeople, detected_people, poses_in_boxes, poses_in_detections
from stages.evaluation.models import Model, models_of
from stages.evaluation.parts import DatasetPart
from stages.evaluation.poses import POSES, poses_path, write_poses
from stages.evaluation.results import (
    EvaluateSettings,
    as_json,
    difference_table,
    joint_table,
    metrics_of,
    notes,
    results_table,
)
from stages.evaluation.scored import Scored, detection_scores, scored
from stages.evaluation.scores import accuracy
from stages.params import settings
from stages.progress import progress

RESULTS = Path("results")


def run(
    params: dict[str, Any],
    student: str | None = None,
    device: Device = "auto",
    say: Callable[[str], None] = print,
    flip: bool = False,
) -> None:
    """Score all students that are trained and the teachers whose files are here, and write results and poses.

    With `student` only that one and the teachers, with `flip` against what params.yaml says: then nothing is written, for the
    results are of all and as params.yaml says.
    """
    everything = dataset_settings(params)
    datasets = {name: dataset for name, dataset in everything.items() if dataset.test}
    chosen = settings(params, "evaluate", EvaluateSettings)
    say(f"evaluating on {torch_device(device)}")
    models = models_of(params, student, device, chosen.flip or flip, say)
    tests = {name: DatasetPart(name, dataset, TEST, load_people(name, TEST)) for name, dataset in datasets.items()}
    truths = {name: part.truth for name, part in tests.items()}
    detected = {name: detected_people(dataset, truths[name]) for name, dataset in datasets.items()}
    judging = [name for name, dataset in everything.items() if dataset.train and dataset.labelled]
    held_out = {name: load_people(name, VALIDATION) for name in judging}
    held_out = {name: people for name, people in held_out.items() if people.use.any()}
    seed, count, skeleton = int(params.get("seed", 0)), chosen.resamples, unified(params)
    results: dict[str, dict[str, Scored]] = {model.name: {} for model in models}
    validation: dict[str, dict[str, float]] = {}
    shown: dict[str, dict[str, Poses]] = {name: {} for name in datasets}
    people = sum(int(each.use.sum()) for each in (*truths.values(), *held_out.values()))
    boxes = sum(len(found.people) for found in detected.values() if found)
    with progress((people + boxes) * len(models), "evaluating", "people") as bar:
        for model in models:
            for name, part in tests.items():
                found, poses = score_part(model, part, detected[name], skeleton, count, seed, bar.update)
                results[model.name][name], shown[name][model.name] = found, poses
            validation[model.name] = {
                name: accuracy(
                    everything[name],
                    people,
                    poses_in_boxes(model, people, everything[name].images(VALIDATION), bar.update),
                )[1]
                for name, people in held_out.items()
            }
    tables = [results_table(results, datasets)]
    if len(models) > 1 and count:
        tables.append(difference_table(results, datasets))
    tables += [joint_table(results, name) for name, dataset in datasets.items() if dataset.score == "pckh"]
    text = "\n".join([*tables, *(f"{note}\n" for note in notes(results, datasets, truths, count))])
    if student or flip > chosen.flip:
        say(text)
        return
    metrics = metrics_of(results, datasets, validation)
    document = {model.name: {"sha256": model.sha256, **metrics[model.name]} for model in models}
    with exclusive(POSES, passing=True):
        write_atomically(RESULTS / "metrics.json", as_json(document))
        write_atomically(RESULTS / "table.md", text.encode())
        aside = POSES.with_name(POSES.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        for name, poses_of_models in shown.items():
            write_poses(aside / poses_path(name).name, poses_of_models)
        replace_folder(aside, POSES)
        write_curves(truths, shown)
    say(text)
    say(f"numbers: {RESULTS / 'metrics.json'}; poses: {POSES}/; curves: {CURVES}; a page of it all: `pipeline report`")


def score_part(
    model: Model,
    part: DatasetPart,
    detected: DetectedPeople | None,
    skeleton: Skeleton,
    count: int,
    seed: int,
    advance: Callable[[int], object],
) -> tuple[Scored, Poses]:
    """A model's scores on a part, those on detected boxes included where there are any, and its poses in the annotated boxes.

    `skeleton` is the unified one; `count` resamples, the same for every model.
    """
    images = part.dataset.images(part.split)
    stream = [seed, *part.title.encode()]
    poses = poses_in_boxes(model, part.truth, images, advance)
    found = scored(part.dataset, part.truth, poses, skeleton, resample(part.truth.image_id, count, stream))
    if detected is None:
        return found, poses
    in_detections = poses_in_detections(model, detected, images, advance)
    shared = None if part.dataset.train else tuple(k for k in part.truth.skeleton.keypoints if k in skeleton.keypoints)
    boxes, pictures = detected.people.image_id, detected.image_id
    more = detection_scores(part.truth, in_detections, boxes, pictures, count, stream, shared)
    return replace(found, scores={**found.scores, **more}), poses
