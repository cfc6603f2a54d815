"""Poses: what a network predicted, as arrays with one row per person. No annotations, no metrics."""

from dataclasses import dataclass, fields, replace

import numpy as np

from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton


@dataclass(frozen=True)
class Poses:
    """M predicted people in image pixels (centre of the first = (0, 0))."""

    skeleton: Skeleton
    image_id: np.ndarray
    """int64 (M,): the image's id, see People."""
    keypoints: np.ndarray
    """float64 (M, K, 2): x, y; NaN = not predicted."""
    confidence: np.ndarray
    """float64 (M, K): confidence of each keypoint, 0-1."""
    score: np.ndarray
    """float64 (M,): score of the whole person, by which average precision ranks."""
    person: np.ndarray
    """int64 (M,): id of the annotated person that the pose was predicted for, -1 if there is none."""

    def __len__(self) -> int:
        return len(self.person)

    def rows(self, which: np.ndarray) -> "Poses":
        """Return the poses at positions `which`, or where a mask is true, in that order."""
        arrays = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "skeleton"}
        return replace(self, **arrays)


def keypoints_as(poses: Poses, keypoints: tuple[str, ...]) -> np.ndarray:
    """Return the predictions of the named keypoints, float64 (M, len(keypoints), 2); NaN for names that the predicted skeleton lacks."""
    positions = Skeleton("named", keypoints).positions_in(poses.skeleton)
    predicted = np.asarray(poses.keypoints, np.float64)[:, positions]
    return np.where((positions >= 0)[None, :, None], predicted, np.nan)


def keypoints_of_people(truth: People, poses: Poses, keypoints: tuple[str, ...]) -> np.ndarray:
    """Return each annotated person's pose by id, float64 (N, len(keypoints), 2): of several the best-scored one, NaN without any."""
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
    """Return one pose per person of keypoints (N, K, 2) in image pixels and confidences (N, K), by which it is scored."""
    return Poses(skeleton, people.image_id, keypoints, confidence, person_score(confidence), people.person)


def person_score(confidence: np.ndarray, box_score: np.ndarray | float = 1.0, threshold: float = 0.2) -> np.ndarray:
    """Return the mean of the keypoint confidences (..., K) above `threshold`, 0 if none is, times the box score (...,): float (...,).

    This is the rescoring of top-down papers (HRNet, lib/dataset/coco.py, `in_vis_thre` 0.2).
    """
    counted = confidence > threshold
    total = np.where(counted, confidence, 0.0).sum(axis=-1)
    return total / np.maximum(counted.sum(axis=-1), 1) * box_score
