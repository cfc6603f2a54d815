"""PCK and mean error relative to the person's box, for datasets without an official metric of their own."""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.bootstrap import Resamples, Score, ratio_score
from pipeline.people.people import People
from pipeline.people.poses import Poses, keypoints_of_people


@dataclass(frozen=True)
class Pck:
    """Fractions of correct keypoints in 0-1; NaN where nothing is labelled."""

    keypoints: dict[str, float]
    """Fraction by keypoint of the truth's skeleton."""
    mean: float
    """Fraction over all labelled keypoints."""


def pck(truth: People, poses: Poses, threshold: float = 0.1) -> Pck:
    """Return the share of labelled keypoints of people in use within threshold x the longer box side; a missing one is wrong."""
    distance, labelled = relative_distances(truth, poses)
    correct = labelled & (distance <= threshold)
    keypoints = {k: fraction(correct[:, i], labelled[:, i]) for i, k in enumerate(truth.skeleton.keypoints)}
    return Pck(keypoints, fraction(correct, labelled))


def keypoint_errors(truth: People, poses: Poses) -> dict[str, float]:
    """Return the mean distance per keypoint in longer box sides, over the people in use with a label and a prediction of it."""
    distance, labelled = relative_distances(truth, poses)
    known = labelled & ~np.isnan(distance)
    return {
        k: float(distance[known[:, i], i].mean()) if known[:, i].any() else float("nan")
        for i, k in enumerate(truth.skeleton.keypoints)
    }


def pck_score(truth: People, poses: Poses, resamples: Resamples, threshold: float = 0.1) -> Score:
    """Return the mean of `pck`, 0-1, with its resamples."""
    distance, labelled = relative_distances(truth, poses)
    correct = labelled & (distance <= threshold)
    return ratio_score(correct.sum(axis=1), labelled.sum(axis=1), truth.image_id[truth.use], resamples)


def error_score(truth: People, poses: Poses, resamples: Resamples) -> Score:
    """Return the normalised mean error in longer box sides over all labelled and predicted keypoints, with its resamples.

    A keypoint that is not predicted has no distance: PCK counts it as wrong, this error leaves it out.
    """
    distance, labelled = relative_distances(truth, poses)
    known = labelled & ~np.isnan(distance)
    total = np.where(known, distance, 0.0).sum(axis=1)
    return ratio_score(total, known.sum(axis=1), truth.image_id[truth.use], resamples)


def relative_distances(truth: People, poses: Poses) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (U, K) in longer box sides, NaN where missing, and the mask of labels (U, K), of the U people in use."""
    truth = truth.rows(truth.use)
    predicted = keypoints_of_people(truth, poses, truth.skeleton.keypoints)
    side = truth.box[:, 2:].max(axis=1)
    return np.linalg.norm(predicted - truth.keypoints, axis=2) / side[:, None], truth.labelled


def fraction(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the share of the true values in `whole` that are true in `part`; NaN where none is true in `whole`."""
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
