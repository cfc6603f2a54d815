"""PCK of the torso, as LSP and FLIC are scored: the share of correct keypoints, with distances relative to the torso's diameter."""

import numpy as np

from pipeline.metrics.bootstrap import Resamples, Score
from pipeline.metrics.pckh import ratio
from pipeline.people.people import People
from pipeline.people.poses import Poses, keypoints_of_people
from pipeline.pose.skeletons import TORSO

TORSO_THRESHOLD = 0.2
"""Distance in torso diameters up to which a keypoint is correct."""


def torso_diameters(truth: People) -> np.ndarray:
    """Return the torso's diameter of every person, float (N,) in pixels; NaN where one of its two ends is not labelled, or it is 0."""
    ends = [truth.skeleton.index(keypoint) for keypoint in TORSO]
    diameter = np.linalg.norm(truth.keypoints[:, ends[0]] - truth.keypoints[:, ends[1]], axis=1)
    return np.where(truth.labelled[:, ends].all(axis=1) & (diameter > 0), diameter, np.nan)


def correct_by_torso(truth: People, poses: Poses, keypoints: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks (U, K) of the U people in use and of `keypoints` of the truth: those that are correct, those that count.

    A labelled keypoint counts if its person's torso diameter is known. It is correct at most TORSO_THRESHOLD diameters away from the
    truth. A person without a pose, or a keypoint that the predicting skeleton lacks, is wrong.
    """
    truth = truth.rows(truth.use)
    positions = [truth.skeleton.index(keypoint) for keypoint in keypoints]
    diameter = torso_diameters(truth)
    counted = truth.labelled[:, positions] & ~np.isnan(diameter)[:, None]
    distance = np.linalg.norm(keypoints_of_people(truth, poses, keypoints) - truth.keypoints[:, positions], axis=2)
    return counted & (distance <= TORSO_THRESHOLD * diameter[:, None]), counted  # a comparison with NaN is false


def torso_pck(truth: People, poses: Poses) -> dict[str, float]:
    """Return the percentage of correct labels, 0 to 100, by keypoint of the truth; NaN where none counts."""
    correct, counted = correct_by_torso(truth, poses, truth.skeleton.keypoints)
    percent = 100.0 * ratio(correct.sum(axis=0), counted.sum(axis=0))
    return dict(zip(truth.skeleton.keypoints, percent.tolist(), strict=True))


def torso_pck_score(
    truth: People, poses: Poses, resamples: Resamples, keypoints: tuple[str, ...] | None = None
) -> Score:
    """Return the unweighted mean over `keypoints`, by default all of the truth, of their percentages, with its resamples.

    Keypoints that nobody counts for have no part in it. NaN where none counts.
    """
    correct, counted = correct_by_torso(truth, poses, truth.skeleton.keypoints if keypoints is None else keypoints)
    drawn = resamples.counts_of(truth.image_id[truth.use])
    return Score(
        float(_mean(correct.sum(axis=0), counted.sum(axis=0))), np.asarray(_mean(drawn @ correct, drawn @ counted))
    )


def _mean(hits: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the mean percentage (...) over the keypoints that count, of numbers of hits and of counted labels (..., K)."""
    known = count > 0
    return 100.0 * ratio(np.where(known, ratio(hits, count), 0.0).sum(axis=-1), known.sum(axis=-1))
