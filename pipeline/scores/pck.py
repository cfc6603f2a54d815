"""Distances relative to the person's box, for datasets without an official measure of their own: PCK and mean error."""

from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.scores.bootstrap import Resamples, Score, ratio_score
from pipeline.scores.poses import Poses, keypoints_of_people


@dataclass(frozen=True)
class Pck:
    """Fractions, 0-1; NaN where nothing is labelled."""

    keypoints: dict[str, float]
    """Per keypoint of the truth's skeleton."""
    mean: float
    """All labelled keypoints pooled."""


def pck(truth: People, poses: Poses, threshold: float = 0.1) -> Pck:
    """Labelled keypoints of used people at most threshold x the longer box side away; missing is wrong."""
    distance, labelled = relative_distances(truth, poses)
    correct = labelled & (distance <= threshold)
    keypoints = {k: fraction(correct[:, i], labelled[:, i]) for i, k in enumerate(truth.skeleton.keypoints)}
    return Pck(keypoints, fraction(correct, labelled))


def keypoint_errors(truth: People, poses: Poses) -> dict[str, float]:
    """Per keypoint the mean distance in longer box sides, over used people that label it and have it predicted."""
    distance, labelled = relative_distances(truth, poses)
    known = labelled & ~np.isnan(distance)
    return {
        k: float(distance[known[:, i], i].mean()) if known[:, i].any() else float("nan")
        for i, k in enumerate(truth.skeleton.keypoints)
    }


def pck_score(truth: People, poses: Poses, resamples: Resamples, threshold: float = 0.1) -> Score:
    """The mean of `pck`, 0-1, with its resamples."""
    distance, labelled = relative_distances(truth, poses)
    correct = labelled & (distance <= threshold)
    return ratio_score(correct.sum(axis=1), labelled.sum(axis=1), truth.image_id[truth.use], resamples)


def error_score(truth: People, poses: Poses, resamples: Resamples) -> Score:
    """Normalised mean error in longer box sides over all keypoints that are labelled and predicted, with its resamples.

    What is not predicted has no distance: PCK counts it as wrong, this does not count it.
    """
    distance, labelled = relative_distances(truth, poses)
    known = labelled & ~np.isnan(distance)
    total = np.where(known, distance, 0.0).sum(axis=1)
    return ratio_score(total, known.sum(axis=1), truth.image_id[truth.use], resamples)


def relative_distances(truth: People, poses: Poses) -> tuple[np.ndarray, np.ndarray]:
    """Distances (U, K) in longer box sides, NaN where missing, and labels (U, K) of the U used people."""
    truth = truth.rows(truth.use)
    predicted = keypoints_of_people(truth, poses, truth.skeleton.keypoints)
    side = truth.box[:, 2:].max(axis=1)
    return np.linalg.norm(predicted - truth.keypoints, axis=2) / side[:, None], truth.labelled


def fraction(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of true values in `whole` that are true in `part`, NaN for an empty whole."""
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
