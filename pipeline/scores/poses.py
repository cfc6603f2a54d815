"""Poses: what a network predicted, as arrays with one row per person. Not the truth, not a score."""

from dataclasses import dataclass, fields, replace

import numpy as np

from pipeline.people.people import People
from pipeline.skeletons import Skeleton


@dataclass(frozen=True)
class Poses:
    """M predicted people in image pixels (centre of the first = (0, 0))."""

    skeleton: Skeleton
    image_id: np.ndarray
    """int64 (M,)."""
    keypoints: np.ndarray
    """float64 (M, K, 2): x, y; NaN = not predicted."""
    confidence: np.ndarray
    """float64 (M, K), 0-1."""
    score: np.ndarray
    """float64 (M,): the whole person's; ranks people for average precision."""
    person: np.ndarray
    """int64 (M,): the People row's id the pose was predicted for, -1 where there is none."""

    def __len__(self) -> int:
        return len(self.person)

    def rows(self, which: np.ndarray) -> "Poses":
        """The poses at those positions (or where that mask is true), in that order."""
        arrays = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "skeleton"}
        return replace(self, **arrays)


def keypoints_as(poses: Poses, keypoints: tuple[str, ...]) -> np.ndarray:
    """Float64 (M, len(keypoints), 2): the predictions by name; NaN where the predicting skeleton lacks one."""
    positions = Skeleton("wanted", keypoints).positions_in(poses.skeleton)
    found = np.asarray(poses.keypoints, np.float64)[:, positions]
    return np.where((positions >= 0)[None, :, None], found, np.nan)


def keypoints_of_people(truth: People, poses: Poses, keypoints: tuple[str, ...]) -> np.ndarray:
    """Float64 (N, len(keypoints), 2): each person's pose by id, NaN without one; of several the best-scored one."""
    result = np.full((len(truth), len(keypoints), 2), np.nan)
    if len(poses) == 0:
        return result
    order = np.lexsort((poses.score, poses.person))
    ids = poses.person[order]
    last = np.searchsorted(ids, truth.person, side="right") - 1
    matched = (last >= 0) & (ids[np.maximum(last, 0)] == truth.person)
    result[matched] = keypoints_as(poses, keypoints)[order[last[matched]]]
    return result


def poses_of(people: People, skeleton: Skeleton, keypoints: np.ndarray, confidence: np.ndarray) -> Poses:
    """One pose per person, ranked by its keypoints' confidence: keypoints (N, K, 2) in image pixels, confidence (N, K)."""
    return Poses(skeleton, people.image_id, keypoints, confidence, person_score(confidence), people.person)


def person_score(confidence: np.ndarray, box_score: np.ndarray | float = 1.0, floor: float = 0.2) -> np.ndarray:
    """Float (...,): mean of the keypoint confidences (..., K) above `floor`, 0 if none is, times the box score (...,).

    The rescoring of top-down papers (HRNet, lib/dataset/coco.py, `in_vis_thre` 0.2).
    """
    counted = confidence > floor
    total = np.where(counted, confidence, 0.0).sum(axis=-1)
    return total / np.maximum(counted.sum(axis=-1), 1) * box_score
