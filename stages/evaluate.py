"""Stage `evaluate`: students and teachers scored on every dataset's test people; metrics, a table and overlay pictures."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Gt

from pipeline.crops import crop
from pipeline.drawing import draw_pose, sheet
from pipeline.errors import UserError
from pipeline.frames import apply, input_from_image, regions_of_boxes
from pipeline.networks.build import load_student
from pipeline.people.coco import read_detections
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.predict import Forward, predict
from pipeline.scores.coco import keypoint_ap
from pipeline.scores.mpii import pckh_people
from pipeline.scores.pck import pck
from pipeline.scores.poses import Poses
from pipeline.skeletons import COCO17, Skeleton
from pipeline.spec import NetworkSpec
from pipeline.teachers.session import infer, open_teacher
from stages.datasets import TEST, DatasetSettings, dataset_settings, load_people, unified
from stages.distill import STUDENTS, arms
from stages.params import settings
from stages.progress import progress
from stages.scores import SCORE_NAMES, poses_of
from stages.teachers import teacher_settings
from stages.training import Device, forward_of, torch_device

RESULTS = Path("results")
OVERLAYS = Path("data/overlays")
CROP_WH = (192, 256)
BATCH = 64


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


def run(params: dict[str, Any], student: str | None = None, device: Device = "auto", say: Callable[[str], None] = print) -> None:
    """Score one student, or all that are trained and the teachers whose files are there; write results/ and data/overlays/."""
    datasets = {name: dataset for name, dataset in dataset_settings(params).items() if dataset.test}
    chosen = settings(params, "evaluate", EvaluateSettings)
    models = _models(params, student, device, say)
    truths = {name: load_people(name, TEST) for name in datasets}
    metrics: dict[str, dict[str, Any]] = {}
    shown: dict[str, dict[str, Poses]] = {name: {} for name in datasets}
    total = sum(int(truth.use.sum()) for truth in truths.values()) * len(models)
    with progress(total, "evaluating", "people") as bar:
        for model in models:
            metrics[model.name] = {}
            for name, dataset in datasets.items():
                poses = _poses(model, truths[name], dataset, bar.update)
                shown[name][model.name] = poses
                metrics[model.name][name] = _scores(truths[name], poses, dataset, params)
                if dataset.test and dataset.test.detections:
                    metrics[model.name][name] |= _with_detections(model, truths[name], dataset)
            metrics[model.name]["average"] = _average(metrics[model.name], datasets)
    table = results_table(metrics, datasets)
    RESULTS.mkdir(exist_ok=True)
    _write(RESULTS / "metrics.json", json.dumps(_rounded(metrics), indent=1) + "\n")
    _write(RESULTS / "table.md", table)
    if chosen.overlays:
        OVERLAYS.mkdir(parents=True, exist_ok=True)
        for name, dataset in datasets.items():
            _overlay(name, dataset, truths[name], shown[name], chosen)
    say(table)
    say(f"numbers: {RESULTS / 'metrics.json'}; pictures: {OVERLAYS}/")


def results_table(metrics: dict[str, dict[str, Any]], datasets: dict[str, DatasetSettings]) -> str:
    """Markdown: a row per model, a column per dataset's own score, the average of those that are trained on, 0 to 100."""
    columns = [(name, key, f"{name} {key}") for name in datasets for key in _columns(name, metrics)]
    lines = ["| model | average | " + " | ".join(title for _, _, title in columns) + " |", "|---|" + "---:|" * (len(columns) + 1)]
    for model, scores in metrics.items():
        cells = [scores["average"], *(scores[name].get(key, float("nan")) for name, key, _ in columns)]
        lines.append(f"| {model} | " + " | ".join("" if np.isnan(cell) else f"{cell:.1f}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _columns(dataset: str, metrics: dict[str, dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for scores in metrics.values() for key in scores[dataset])
    return [key for key in keys if key.startswith(("AP", "PCKh@0.5")) and key not in ("AP50", "AP75", "APM", "APL")]


def _models(params: dict[str, Any], student: str | None, device: Device, say: Callable[[str], None]) -> list[Model]:
    models = []
    known = arms(params)
    if student is not None and student not in known:
        raise UserError(f"params.yaml: unknown student `{student}`: expected one of {', '.join(known)}")
    on = torch_device(device)
    for name in [student] if student else known:
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
        opened = open_teacher(name, wanted.onnx, wanted.spec, device)
        models.append(Model(f"teacher {name}", wanted.spec, lambda crops, opened=opened: infer(opened, crops, BATCH)))
    if not models:
        raise UserError("nothing to evaluate: run `pipeline distill` first")
    return models


def _poses(model: Model, truth: People, dataset: DatasetSettings, advance: Callable[[int], object]) -> Poses:
    people = truth.rows(truth.use)
    points, confidence = predict(model.forward, model.spec, people, dataset.images(TEST), BATCH, advance)
    return poses_of(people, model.spec.skeleton, points, confidence)


def _scores(truth: People, poses: Poses, dataset: DatasetSettings, params: dict[str, Any]) -> dict[str, float]:
    scores: dict[str, float] = {}
    if dataset.score == "pckh":
        for threshold in (0.5, 0.1):
            scores[f"PCKh@{threshold}"] = pckh_people(truth, poses, threshold).mean
    elif dataset.train:
        scores |= {key: 100 * value for key, value in keypoint_ap(truth, poses).items()}
    else:
        scores |= _shared_ap(truth, poses, unified(dataset_settings(params)))
    scores["PCK@0.1"] = 100 * pck(truth, poses).mean
    return scores


def _shared_ap(truth: People, poses: Poses, student: Skeleton) -> dict[str, float]:
    """AP on a skeleton that nobody was trained on: over COCO's keypoints, over all it shares with the student's, and, where
    it has a neck and no thorax, over one more with the thorax read as its neck."""
    shared = tuple(k for k in truth.skeleton.keypoints if k in student.keypoints)
    coco = tuple(k for k in shared if k in COCO17.keypoints)
    scores = {f"AP-{len(subset)}": 100 * keypoint_ap(truth, poses, subset)["AP"] for subset in dict.fromkeys((shared, coco))}
    if "thorax" in student.keypoints and "thorax" not in truth.skeleton.keypoints and "upper_neck" in shared:
        neck = truth.skeleton.index("upper_neck")
        as_neck = replace(
            truth,
            skeleton=Skeleton("thorax read as neck", (*truth.skeleton.keypoints, "thorax")),
            keypoints=np.concatenate([truth.keypoints, truth.keypoints[:, neck : neck + 1]], axis=1),
            labelled=np.concatenate([truth.labelled, truth.labelled[:, neck : neck + 1]], axis=1),
        )
        scores[f"AP-{len(shared) + 1} (thorax as neck)"] = 100 * keypoint_ap(as_neck, poses, (*shared, "thorax"))["AP"]
    return scores


def _with_detections(model: Model, truth: People, dataset: DatasetSettings) -> dict[str, float]:
    """AP on detected boxes in the annotated pictures, a pose's score weighted by its box's."""
    assert dataset.test is not None and dataset.test.detections is not None
    detections = read_detections(Path(dataset.annotations) / dataset.test.detections)
    first = {int(image_id): row for row, image_id in reversed(list(enumerate(truth.image_id)))}
    kept = np.array([int(image_id) in first for image_id in detections.image_id])
    rows = np.array([first[int(image_id)] for image_id in detections.image_id[kept]], dtype=np.int64)
    people = replace(truth.rows(rows), box=detections.box[kept], person=np.arange(len(rows)))
    points, confidence = predict(model.forward, model.spec, people, dataset.images(TEST), BATCH, lambda n: None)
    poses = poses_of(people, model.spec.skeleton, points, confidence)
    poses = replace(poses, score=poses.score * detections.score[kept], person=np.full(len(rows), -1))
    pictures = np.isin(truth.image_id, detections.image_id)
    return {"AP on detections": 100 * keypoint_ap(truth.rows(pictures), poses)["AP"]}


def _average(scores: dict[str, Any], datasets: dict[str, DatasetSettings]) -> float:
    main = [scores[name]["AP" if d.score == "ap" else SCORE_NAMES["pckh"]] for name, d in datasets.items() if d.train]
    return float(np.mean(main)) if main else float("nan")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return None if np.isnan(value) else round(float(value), 3)


def _overlay(name: str, dataset: DatasetSettings, truth: People, shown: dict[str, Poses], chosen: EvaluateSettings) -> None:
    """A sheet of people spread over the test set: truth, then every model."""
    used = np.flatnonzero(truth.use)
    picked = used[np.linspace(0, len(used) - 1, min(chosen.overlays, len(used))).astype(int)]
    rows = []
    for row in picked:
        picture = read_picture(safe_path(dataset.images(TEST), truth.image[row]), truth.image_wh[row])
        affine = input_from_image(regions_of_boxes(truth.box[row : row + 1]), CROP_WH, 1.25, "classic")
        plain = crop(picture, affine, CROP_WH)[0]
        drawn = [draw_pose(plain, truth.skeleton, apply(affine[0], truth.keypoints[row]), truth.labelled[row])]
        for poses in shown.values():
            at = int(np.flatnonzero(poses.person == truth.person[row])[0])
            known = poses.confidence[at] > chosen.confidence
            drawn.append(draw_pose(plain, poses.skeleton, apply(affine[0], np.nan_to_num(poses.keypoints[at])), known))
        rows.append(drawn)
    labels = [f"{truth.image[row]}, person {truth.person[row]}" for row in picked]
    cv2.imwrite(str(OVERLAYS / f"{name}.jpg"), sheet(rows, ["truth", *shown], labels)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _write(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
