"""MPII's PCKh: correct keypoints relative to the size of the head. No other normalisation."""

from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People, head_size
from pipeline.scores.bootstrap import Resamples, Score
from pipeline.scores.poses import Poses, keypoints_of_people
from pipeline.skeletons import MPII16, part

GROUPS = ("head_top", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Columns of published tables, by body part. `Head` there is the top of the head alone."""

LEFT_OUT = ("pelvis", "thorax")
"""Not part of any mean (MPII's evaluation toolkit; HRNet and MMPose alike)."""


PARTS = np.array([part(k) for k in MPII16.keypoints])
AVERAGED = ~np.isin(PARTS, LEFT_OUT)


@dataclass(frozen=True)
class Pckh:
    """Percentages, 0-100; NaN where nothing is labelled."""

    groups: dict[str, float]
    """head, shoulder, elbow, wrist, hip, knee, ankle: mean of the left and the right keypoint's percentage."""
    keypoints: dict[str, float]
    """All 16 by name."""
    mean: float
    """Unweighted, over the 14 keypoints left without pelvis and thorax: upper neck included, though no column shows it.
    This is the published mean of anibali/eval-mpii-pose (86.76 for its hg_s2_b1; its seven columns alone average 86.62)."""
    mean_weighted: float
    """The same 14 weighted by how often each is labelled, as HRNet and MMPose print it."""


def pckh(
    truth_keypoints: np.ndarray,
    labelled: np.ndarray,
    head_size: np.ndarray,
    predicted: np.ndarray,
    threshold: float = 0.5,
) -> Pckh:
    """Share of labelled keypoints at most threshold x head size (see `head_size`) away from the truth.

    Truth and prediction (N, 16, 2) in MPII16's order and in pixels of one frame, labelled (N, 16), head sizes (N,).
    A predicted NaN is missing, and so wrong. People whose head size is NaN or 0 are left out.
    """
    return summed(*marks(truth_keypoints, labelled, head_size, predicted, threshold))


def marks(
    truth_keypoints: np.ndarray,
    labelled: np.ndarray,
    head_size: np.ndarray,
    predicted: np.ndarray,
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Bool (N, 16) twice, of the arguments of `pckh`: which keypoints are right, and which count at all."""
    counted = labelled & (np.nan_to_num(head_size) > 0)[:, None]
    distance = np.linalg.norm(predicted - truth_keypoints, axis=2)
    return counted & (distance <= threshold * head_size[:, None]), counted  # NaN compares as false


def summed(correct: np.ndarray, counted: np.ndarray) -> Pckh:
    """The percentages of `marks`."""
    hits, count = correct.sum(axis=0), counted.sum(axis=0)
    percent = 100.0 * ratio(hits, count)
    mean, weighted = means(hits, count)
    groups = {name.removesuffix("_top"): mean_of_known(percent[name == PARTS]) for name in GROUPS}
    keypoints = dict(zip(MPII16.keypoints, percent.tolist(), strict=True))
    return Pckh(groups, keypoints, float(mean), float(weighted))


def means(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float (...) twice, 0-100: both means of right and counted keypoints (..., 16), as `Pckh` describes them."""
    hits, count = hits[..., AVERAGED], count[..., AVERAGED]
    known = count > 0
    shares = np.where(known, ratio(hits, count), 0.0)
    return 100.0 * ratio(shares.sum(axis=-1), known.sum(axis=-1)), 100.0 * ratio(hits.sum(axis=-1), count.sum(axis=-1))


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Float a / b, NaN where b is 0."""
    return np.where(b > 0, a / np.maximum(b, 1), np.nan)


def mean_of_known(values: np.ndarray) -> float:
    """Mean of those that aren't NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def pckh_people(truth: People, poses: Poses, threshold: float = 0.5) -> Pckh:
    """`pckh` of the truth's used people, each against its pose by person id, keypoints by name on either side."""
    return summed(*marks_of_people(truth, poses, threshold))


def marks_of_people(truth: People, poses: Poses, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """`marks` (U, 16) of the U used people.

    A person without a pose, or a keypoint that the predicting skeleton lacks, counts as wrong. Without a head box the
    head size is the distance from head top to upper neck if both are labelled; otherwise the person is left out. That
    distance is 4/3 of the official size (median of MPII's validation people), so such numbers are too kind to compare.
    """
    truth = truth.rows(truth.use)
    positions = MPII16.positions_in(truth.skeleton)
    labelled = truth.labelled[:, positions] & (positions >= 0)
    keypoints = truth.keypoints[:, positions]
    top, neck = MPII16.index("head_top"), MPII16.index("upper_neck")
    head = np.linalg.norm(keypoints[:, top] - keypoints[:, neck], axis=1)
    head = np.where(labelled[:, top] & labelled[:, neck], head, np.nan)
    size = np.where(np.isnan(truth.head_box).any(axis=1), head, head_size(truth.head_box))
    return marks(keypoints, labelled, size, keypoints_of_people(truth, poses, MPII16.keypoints), threshold)


def pckh_scores(
    correct: np.ndarray, counted: np.ndarray, image_id: np.ndarray, resamples: Resamples
) -> tuple[Score, Score]:
    """Both means, 0-100, of `marks` of people on those pictures (N,), with their resamples."""
    drawn = resamples.of(image_id)
    again = means(drawn @ correct, drawn @ counted)
    whole = summed(correct, counted)
    return Score(whole.mean, again[0]), Score(whole.mean_weighted, again[1])
