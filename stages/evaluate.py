"""Stage `evaluate`: students and teachers on every dataset's test people; metrics, a table and overlay pictures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.flip import Forward
from pipeline.networks.build import load_student
from pipeline.networks.run import Device, forward_of, torch_device
from pipeline.people.coco import read_coco_pictures, read_detections
from pipeline.people.people import People
from pipeline.predict import predict
from pipeline.scores.coco import keypoint_ap
from pipeline.scores.poses import Poses
from pipeline.spec import NetworkSpec
from pipeline.teachers.session import open_teacher
from stages.datasets import TEST, VALIDATION, DatasetSettings, dataset_settings, load_people, unified
from stages.overlays import OVERLAYS, write_overlay
from stages.params import settings
from stages.progress import progress
from stages.scores import SCORE_NAMES, accuracy, all_scores, poses_of
from stages.students import STUDENTS, arm_named, arms
from stages.teachers import teacher_settings

RESULTS = Path("results")
BATCH = 64
DETAILS = ("AP50", "AP75", "APM", "APL", "AP-21 (thorax as neck)")
"""Scores that metrics.json has and the table leaves out."""


@dataclass(frozen=True)
class EvaluateSettings:
    overlays: Annotated[int, Ge(0)] = 6
    """People drawn per dataset."""
    confidence: Annotated[float, Gt(0)] = 0.2
    """Keypoints above this are drawn."""


@dataclass(frozen=True)
class Model:
    """A student or a teacher, ready to be run."""

    name: str
    spec: NetworkSpec
    forward: Forward


def run(
    params: dict[str, Any], student: str | None = None, device: Device = "auto", say: Callable[[str], None] = print
) -> None:
    """Score all students that are trained and the teachers whose files are here, and write results and overlays.

    With `student` only that one and the teachers, and nothing is written: the results are of all.
    """
    everything = dataset_settings(params)
    datasets = {name: dataset for name, dataset in everything.items() if dataset.test}
    chosen = settings(params, "evaluate", EvaluateSettings)
    models = _models(params, student, device, say)
    truths = {name: load_people(name, TEST) for name in datasets}
    held_out = {name: load_people(name, VALIDATION) for name, dataset in everything.items() if dataset.train}
    metrics: dict[str, dict[str, Any]] = {}
    shown: dict[str, dict[str, Poses]] = {name: {} for name in datasets}
    counted = [int(people.use.sum()) for people in (*truths.values(), *held_out.values())]
    with progress(sum(counted) * len(models), "evaluating", "people") as bar:
        for model in models:
            scores: dict[str, Any] = {}
            for name, dataset in datasets.items():
                poses = _poses(model, truths[name], dataset.images(TEST), bar.update)
                shown[name][model.name] = poses
                scores[name] = all_scores(dataset, truths[name], poses, unified(everything))
                if dataset.test and dataset.test.detections:
                    scores[name] |= _with_detections(model, truths[name], dataset)
            scores["average"] = _average(scores, datasets)
            scores["validation"] = {
                name: accuracy(
                    everything[name], people, _poses(model, people, everything[name].images(VALIDATION), bar.update)
                )[1]
                for name, people in held_out.items()
                if people.use.any()
            }
            metrics[model.name] = scores
    table = results_table(metrics, datasets)
    if student:
        say(table)
        return
    write_atomically(RESULTS / "metrics.json", (json.dumps(_rounded(metrics), indent=1) + "\n").encode())
    write_atomically(RESULTS / "table.md", table.encode())
    OVERLAYS.mkdir(parents=True, exist_ok=True)
    if chosen.overlays:
        for name, dataset in datasets.items():
            write_overlay(name, dataset, truths[name], shown[name], chosen.overlays, chosen.confidence)
    say(table)
    say(f"numbers: {RESULTS / 'metrics.json'}; pictures: {OVERLAYS}/")


def results_table(metrics: dict[str, dict[str, Any]], datasets: dict[str, DatasetSettings]) -> str:
    """Markdown: a row per model, a column per dataset's scores, the average of those that are trained on, 0 to 100."""
    columns = [(name, key) for name in datasets for key in _columns(name, metrics)]
    heading = ["model", "average", *(f"{name} {key}" for name, key in columns)]
    lines = [f"| {' | '.join(heading)} |", "|---|" + "---:|" * (len(columns) + 1)]
    for model, scores in metrics.items():
        cells = [scores["average"], *(scores[name].get(key, float("nan")) for name, key in columns)]
        lines.append(f"| {model} | " + " | ".join("" if np.isnan(cell) else f"{cell:.1f}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _columns(dataset: str, metrics: dict[str, dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for scores in metrics.values() for key in scores[dataset])
    return [key for key in keys if key.startswith(("AP", "PCK")) and key not in DETAILS]


def _models(params: dict[str, Any], student: str | None, device: Device, say: Callable[[str], None]) -> list[Model]:
    models = []
    on = torch_device(device)
    say(f"evaluating on {on}")
    for name in [arm_named(params, student)[0]] if student else arms(params):
        if student is None and not (STUDENTS / name).is_dir():
            say(f"student {name} is not trained yet and left out: run `pipeline distill --student {name}`")
            continue
        loaded = load_student(STUDENTS / name)
        models.append(Model(name, loaded.spec, forward_of(loaded.network.to(on), loaded.spec)))
    for name in params.get("teachers") or {}:
        wanted = teacher_settings(params, name)
        if not wanted.onnx.is_file():
            say(f"teacher {name}: {wanted.onnx} is not here and left out")
            continue
        opened = open_teacher(name, wanted.onnx, wanted.spec, device, precision=wanted.precision)
        models.append(Model(f"teacher {name}", wanted.spec, opened.forward(BATCH)))
    if not models:
        raise UserError("nothing to evaluate: run `pipeline distill` first")
    return models


def _poses(model: Model, truth: People, images: Path, advance: Callable[[int], object]) -> Poses:
    people = truth.rows(truth.use)
    points, confidence = predict(model.forward, model.spec, people, images, BATCH, advance)
    return poses_of(people, model.spec.skeleton, points, confidence)


def _with_detections(model: Model, truth: People, dataset: DatasetSettings) -> dict[str, float]:
    """AP on detected boxes, in the pictures that have any; a pose's score is weighted by its box's."""
    assert dataset.test is not None
    assert dataset.test.detections is not None
    folder = Path(dataset.annotations)
    detections = read_detections(folder / dataset.test.detections)
    pictures = read_coco_pictures(folder / dataset.test.file)
    kept = np.isin(detections.image_id, list(pictures))
    image_id, box = detections.image_id[kept], detections.box[kept]
    blank = truth.rows(np.zeros(len(box), np.int64))
    people = replace(
        blank,
        image_id=image_id,
        image=np.array([pictures[int(i)][0] for i in image_id]),
        image_wh=np.array([pictures[int(i)][1] for i in image_id], np.int32).reshape(-1, 2),
        box=box,
        person=np.full(len(box), -1),
    )
    points, confidence = predict(model.forward, model.spec, people, dataset.images(TEST), BATCH, lambda count: None)
    poses = poses_of(people, model.spec.skeleton, points, confidence)
    poses = replace(poses, score=poses.score * detections.score[kept])
    annotated = truth.rows(np.isin(truth.image_id, image_id))
    name = f"AP on detections of {len(np.unique(image_id))} pictures"
    return {name: 100 * keypoint_ap(annotated, poses)["AP"]}


def _average(scores: dict[str, Any], datasets: dict[str, DatasetSettings]) -> float:
    main = [scores[name][SCORE_NAMES[dataset.score]] for name, dataset in datasets.items() if dataset.train]
    return float(np.mean(main)) if main else float("nan")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return None if np.isnan(value) else round(float(value), 3)
