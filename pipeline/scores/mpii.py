"""MPII's PCKh: correct keypoints relative to the size of the head. No other normalisation."""

from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People, head_size
from pipeline.scores.poses import Poses, keypoints_of_people
from pipeline.skeletons import MPII16, part

GROUPS = ("head_top", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Columns of published tables, by body part. `Head` there is the top of the head alone."""

LEFT_OUT = ("pelvis", "thorax")
"""Not part of any mean (MPII's evaluation toolkit; HRNet and MMPose alike)."""


@dataclass(frozen=True)
class Pckh:
    """Percentages, 0-100; NaN where nothing is labelled."""

    groups: dict[str, float]
    """head, shoulder, elbow, wrist, hip, knee, ankle: mean of the left and the right keypoint's percentage."""
    keypoints: dict[str, float]
    """All 16 by name."""
    mean: float
    """Unweighted, over the 14 keypoints left without pelvis and thorax: upper neck included, though no column shows it.
    This is the published mean of anibali/eval-mpii-pose."""
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
    counted = labelled & (np.nan_to_num(head_size) > 0)[:, None]
    distance = np.linalg.norm(predicted - truth_keypoints, axis=2)
    correct = counted & (distance <= threshold * head_size[:, None])  # NaN compares as false
    count, hits = counted.sum(axis=0), correct.sum(axis=0)
    percent = 100.0 * ratio(hits, count)

    parts = np.array([part(k) for k in MPII16.keypoints])
    averaged = ~np.isin(parts, LEFT_OUT)
    groups = {name.removesuffix("_top"): mean_of_known(percent[parts == name]) for name in GROUPS}
    return Pckh(
        groups=groups,
        keypoints=dict(zip(MPII16.keypoints, percent.tolist(), strict=True)),
        mean=mean_of_known(percent[averaged]),
        mean_weighted=float(100.0 * ratio(hits[averaged].sum(), count[averaged].sum())),
    )


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Float a / b, NaN where b is 0."""
    return np.where(b > 0, a / np.maximum(b, 1), np.nan)


def mean_of_known(values: np.ndarray) -> float:
    """Mean of those that aren't NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def pckh_people(truth: People, poses: Poses, threshold: float = 0.5) -> Pckh:
    """`pckh` of the truth's used people, each against its pose by person id, keypoints by name on either side.

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
    return pckh(keypoints, labelled, size, keypoints_of_people(truth, poses, MPII16.keypoints), threshold)
