"""MPII's PCKh: the share of correct keypoints, with distances relative to the size of the head."""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.bootstrap import Resamples, Score
from pipeline.people.people import People, head_size
from pipeline.people.poses import Poses, keypoints_of_people
from pipeline.pose.skeletons import HEAD_ENDS, MPII16, body_part

JOINT_GROUPS = ("head_top", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Joints that published tables have as columns. `Head` in them is the top of the head alone."""

EXCLUDED_JOINTS = ("pelvis", "thorax")
"""Joints that no mean includes (MPII's evaluation toolkit; HRNet and MMPose alike)."""

JOINT_OF_KEYPOINT = np.array([body_part(k) for k in MPII16.keypoints])
IN_MEAN = ~np.isin(JOINT_OF_KEYPOINT, EXCLUDED_JOINTS)


@dataclass(frozen=True)
class Pckh:
    """Percentages of correct keypoints, 0 to 100; NaN where nothing is labelled."""

    groups: dict[str, float]
    """Percentage by joint (head, shoulder, elbow, wrist, hip, knee, ankle): the mean over the left and the right keypoint."""
    keypoints: dict[str, float]
    """Percentage by keypoint, all 16."""
    mean: float
    """Unweighted mean over the 14 keypoints without pelvis and thorax. It includes the upper neck, though no column shows it:
    the published mean of anibali/eval-mpii-pose (86.76 for its hg_s2_b1; its seven columns alone average 86.62)."""
    mean_weighted: float
    """Mean over the same 14, weighted by how often each is labelled, as HRNet and MMPose print it."""


def pckh(
    truth_keypoints: np.ndarray,
    labelled: np.ndarray,
    head_size: np.ndarray,
    predicted: np.ndarray,
    threshold: float = 0.5,
) -> Pckh:
    """Return the percentages of labelled keypoints at most threshold x head size (see `head_size`) away from the truth.

    Takes truth and prediction (N, 16, 2) in MPII16's order and in pixels of one frame, labelled (N, 16) and head sizes (N,).
    A predicted NaN is missing, and so wrong. People whose head size is NaN or 0 are left out.
    """
    return pckh_of_correct(*correct_keypoints(truth_keypoints, labelled, head_size, predicted, threshold))


def correct_keypoints(
    truth_keypoints: np.ndarray,
    labelled: np.ndarray,
    head_size: np.ndarray,
    predicted: np.ndarray,
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks (N, 16): the keypoints that are correct, and those that count. The arguments are those of `pckh`."""
    counted = labelled & (np.nan_to_num(head_size) > 0)[:, None]
    distance = np.linalg.norm(predicted - truth_keypoints, axis=2)
    return counted & (distance <= threshold * head_size[:, None]), counted  # a comparison with NaN is false


def pckh_of_correct(correct: np.ndarray, counted: np.ndarray) -> Pckh:
    """Return the percentages for masks that `correct_keypoints` returns."""
    hits, count = correct.sum(axis=0), counted.sum(axis=0)
    percent = 100.0 * ratio(hits, count)
    mean, weighted = both_means(hits, count)
    groups = {name.removesuffix("_top"): mean_of_known(percent[name == JOINT_OF_KEYPOINT]) for name in JOINT_GROUPS}
    keypoints = dict(zip(MPII16.keypoints, percent.tolist(), strict=True))
    return Pckh(groups, keypoints, float(mean), float(weighted))


def both_means(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays (...), 0 to 100: `mean` and `mean_weighted` of Pckh, from numbers of hits and of counted keypoints (..., 16)."""
    hits, count = hits[..., IN_MEAN], count[..., IN_MEAN]
    known = count > 0
    shares = np.where(known, ratio(hits, count), 0.0)
    return 100.0 * ratio(shares.sum(axis=-1), known.sum(axis=-1)), 100.0 * ratio(hits.sum(axis=-1), count.sum(axis=-1))


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b as float, NaN where b is 0."""
    return np.where(b > 0, a / np.maximum(b, 1), np.nan)


def mean_of_known(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def pckh_of_people(truth: People, poses: Poses, threshold: float = 0.5) -> Pckh:
    """Return the `pckh` of the truth's people in use, each against the pose with its person id. Keypoints are matched by name."""
    return pckh_of_correct(*correct_keypoints_of_people(truth, poses, threshold))


def correct_keypoints_of_people(truth: People, poses: Poses, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of `correct_keypoints` (U, 16) for the U people in use.

    A person without a pose, or a keypoint that the predicting skeleton lacks, counts as wrong. Head sizes are `head_sizes`.
    """
    truth = truth.rows(truth.use)
    positions = MPII16.positions_in(truth.skeleton)
    labelled = truth.labelled[:, positions] & (positions >= 0)
    keypoints = truth.keypoints[:, positions]
    size = head_sizes(truth)
    return correct_keypoints(keypoints, labelled, size, keypoints_of_people(truth, poses, MPII16.keypoints), threshold)


def head_sizes(truth: People) -> np.ndarray:
    """Return the head size of every person, float (N,).

    Without a head box it is the distance from head top to upper neck if both are labelled, else NaN, and the person is left out.
    That distance is 4/3 of the official size (median of MPII's validation people), so such numbers are too high to compare.
    """
    positions = [truth.skeleton.keypoints.index(k) if k in truth.skeleton.keypoints else -1 for k in HEAD_ENDS]
    known = truth.labelled[:, positions].all(axis=1) & (min(positions) >= 0)
    head = np.linalg.norm(truth.keypoints[:, positions[0]] - truth.keypoints[:, positions[1]], axis=1)
    lacking = np.isnan(truth.head_box).any(axis=1)
    return np.where(lacking, np.where(known, head, np.nan), head_size(truth.head_box))


def pckh_scores(
    correct: np.ndarray, counted: np.ndarray, image_id: np.ndarray, resamples: Resamples
) -> tuple[Score, Score]:
    """Return the unweighted and the weighted mean, 0 to 100, with their resamples.

    Takes the masks of `correct_keypoints` (N, 16) and the people's images (N,).
    """
    drawn = resamples.counts_of(image_id)
    mean, weighted = both_means(drawn @ correct, drawn @ counted)
    whole = pckh_of_correct(correct, counted)
    return Score(whole.mean, mean), Score(whole.mean_weighted, weighted)
