"""All numbers of one model on one dataset: scores with their resamples, and values per keypoint. Runs no network, makes no tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.metrics.accuracy import PCKH_THRESHOLDS, ap_scores, resampled_scores
from pipeline.metrics.bootstrap import Resamples, Score, draw_resamples
from pipeline.metrics.pck import keypoint_errors, pck
from pipeline.metrics.pckh import Pckh, pckh_of_people
from pipeline.metrics.score_names import AP_ON_DETECTIONS, SCORE_NAMES
from pipeline.metrics.torso_pck import torso_pck
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import Skeleton


@dataclass(frozen=True)
class ModelScores:
    """Scores of a model on a dataset."""

    scores: dict[str, Score]
    """Scores by name, 0 to 100."""
    keypoints: dict[str, list[Any]] = field(default_factory=dict)
    """Columns of equal length, a value per keypoint: `keypoint` (the name), `labelled` (how often it is), `error` (its NME in percent
    of the longer box side), `PCK@0.1`, and for datasets scored by PCKh `PCKh@0.5` and `PCKh@0.1`, for those scored by PCK
    `PCK@0.2 torso`, 0 to 100."""
    pckh: dict[float, Pckh] = field(default_factory=dict)
    """PCKh by threshold, for datasets scored by PCKh."""


def scores_of_model(
    kind: ScoreKind, trained_on: bool, truth: People, poses: Poses, student: Skeleton, resamples: Resamples
) -> ModelScores:
    """Score poses that state the person they are of. `student` is the unified skeleton; the resamples are of the truth's images."""
    by_threshold = {}
    if kind == "pckh":
        by_threshold = {threshold: pckh_of_people(truth, poses, threshold) for threshold in PCKH_THRESHOLDS}
    errors, correct = keypoint_errors(truth, poses), pck(truth, poses).keypoints
    names = truth.skeleton.keypoints
    columns: dict[str, list[Any]] = {
        "keypoint": list(names),
        "labelled": truth.labelled[truth.use].sum(axis=0).tolist(),
        "error": [100 * errors[name] for name in names],
        "PCK@0.1": [100 * correct[name] for name in names],
    }
    for threshold, pckh in by_threshold.items():
        columns[f"PCKh@{threshold}"] = [pckh.keypoints.get(name, float("nan")) for name in names]
    if kind == "pck":
        columns[SCORE_NAMES["pck"]] = list(torso_pck(truth, poses).values())
    return ModelScores(resampled_scores(kind, trained_on, truth, poses, student, resamples), columns, by_threshold)


def detection_scores(
    truth: People,
    poses: Poses,
    boxes_image_id: np.ndarray,
    images: np.ndarray,
    count: int,
    seed: Sequence[int],
    keypoints: tuple[str, ...] | None = None,
) -> dict[str, Score]:
    """Return the AP, 0 to 100, of poses in detected boxes over all `images` of the annotation file, as the official evaluation does.

    It is over the truth's keypoints, or over `keypoints`. Where the detections leave out images with people, as an excerpt of a
    file does, there is also the AP over the images that have detections.
    """
    scores = {AP_ON_DETECTIONS: ap_scores(truth, poses, draw_resamples(images, count, seed), keypoints)["AP"]}
    covered = np.isin(truth.image_id, boxes_image_id)
    if covered.any() and not covered.all():
        detected = np.unique(boxes_image_id)
        name = f"{AP_ON_DETECTIONS} of {len(detected)} images"
        scores[name] = ap_scores(truth.rows(covered), poses, draw_resamples(detected, count, seed), keypoints)["AP"]
    return scores
