"""All that is said about one model on one dataset: scores with their resamples, and numbers per keypoint. No inference, no tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.people.people import People
from pipeline.scores.bootstrap import Resamples, Score, resample
from pipeline.scores.mpii import Pckh, pckh_people
from pipeline.scores.pck import keypoint_errors, pck
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton
from stages.datasets import DatasetSettings
from stages.evaluation.scores import PCKH_THRESHOLDS, ap_scores, resampled_scores

ON_DETECTIONS = "AP on detections"


@dataclass(frozen=True)
class Scored:
    """A model on a dataset."""

    scores: dict[str, Score]
    """By name, 0 to 100."""
    keypoints: dict[str, list[Any]] = field(default_factory=dict)
    """Columns of equal length: `keypoint` (its name), `labelled` (how often), `error` (NME of it, in percent of the longer box
    side), `PCK@0.1`, and where the dataset is judged by it `PCKh@0.5` and `PCKh@0.1`; 0 to 100."""
    pckh: dict[float, Pckh] = field(default_factory=dict)
    """By threshold, where the dataset is judged by it."""


def scored(dataset: DatasetSettings, truth: People, poses: Poses, student: Skeleton, resamples: Resamples) -> Scored:
    """Of poses that know their people; `student` is the unified skeleton, the resamples are of the truth's pictures."""
    by_threshold = {}
    if dataset.score == "pckh":
        by_threshold = {threshold: pckh_people(truth, poses, threshold) for threshold in PCKH_THRESHOLDS}
    errors, correct = keypoint_errors(truth, poses), pck(truth, poses).keypoints
    names = truth.skeleton.keypoints
    columns: dict[str, list[Any]] = {
        "keypoint": list(names),
        "labelled": truth.labelled[truth.use].sum(axis=0).tolist(),
        "error": [100 * errors[name] for name in names],
        "PCK@0.1": [100 * correct[name] for name in names],
    }
    for threshold, found in by_threshold.items():
        columns[f"PCKh@{threshold}"] = [found.keypoints.get(name, float("nan")) for name in names]
    return Scored(resampled_scores(dataset, truth, poses, student, resamples), columns, by_threshold)


def detection_scores(
    truth: People,
    poses: Poses,
    boxes_image_id: np.ndarray,
    pictures: np.ndarray,
    count: int,
    seed: Sequence[int],
    keypoints: tuple[str, ...] | None = None,
) -> dict[str, Score]:
    """AP of poses in detected boxes, 0 to 100, over all `pictures` of the annotation file, as the official evaluation has it.

    Where the detections leave out pictures with people, as an excerpt of a file does, also over the pictures that have any.
    Over the truth's keypoints, or those named.
    """
    found = {ON_DETECTIONS: ap_scores(truth, poses, resample(pictures, count, seed), keypoints)["AP"]}
    covered = np.isin(truth.image_id, boxes_image_id)
    if not covered.all():
        some = np.unique(boxes_image_id)
        name = f"{ON_DETECTIONS} of {len(some)} pictures"
        found[name] = ap_scores(truth.rows(covered), poses, resample(some, count, seed), keypoints)["AP"]
    return found
