"""The systematic offset of a teacher's keypoints from a dataset's labels: how it is measured and how it is corrected. Reads no stores."""

from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.people.poses import Poses, keypoints_of_people
from pipeline.pose.skeletons import Skeleton

ERROR_OF_MEDIAN = 1.2533 * 1.4826
"""Standard error of a median, in median absolute deviations over the root of the count. Exact for normal residuals; too large for
residuals with heavier tails."""

MIN_LABELS = 10
"""Smallest number of labels for which a standard error is given."""


@dataclass(frozen=True)
class Calibration:
    """A teacher's offset from a dataset's labels, by keypoint, in longer box sides along the image's x and y."""

    teacher: str
    dataset: str
    keypoints: tuple[str, ...]
    """Names of the K keypoints that teacher and dataset share."""
    offset: np.ndarray
    """float64 (K, 2): teacher minus label; NaN where nobody is measured."""
    error: np.ndarray
    """float64 (K, 2): standard error; NaN where fewer than MIN_LABELS are measured."""
    count: np.ndarray
    """int64 (K,): number of labelled keypoints measured, the mirror partner's included."""

    def significant(self, times: float = 2.0) -> np.ndarray:
        """Return whether the offset is larger than `times` standard errors, bool (K, 2)."""
        return np.abs(self.offset) > times * self.error

    def correction(self, teacher: Skeleton, box: np.ndarray, times: float = 2.0) -> np.ndarray:
        """Return the image pixels by which to move the teacher's keypoints, float32 (N, teacher's K, 2).

        `box` (N, 4) holds x, y, width and height of the people's boxes. The correction is minus the offset where that is
        `significant`, and zero elsewhere and for keypoints that the dataset does not label.
        """
        sides = np.zeros((len(teacher), 2))
        positions = [teacher.index(keypoint) for keypoint in self.keypoints]
        sides[positions] = np.where(self.significant(times), -np.nan_to_num(self.offset), 0.0)
        return (_longer_side(box)[:, None, None] * sides).astype(np.float32)


def calibrate(teacher: str, dataset: str, people: People, poses: Poses, min_score: float) -> Calibration:
    """Measure the median of a teacher's poses minus the labels.

    Counted are people in use, and of them the keypoints that are labelled and that the teacher gives a score above `min_score`.
    Left keypoints are pooled with mirrored right ones, so that a mirrored image has the mirrored offset; keypoints on the midline
    have no offset in x.
    """
    people = people.rows(people.use)
    keypoints = tuple(k for k in people.skeleton.keypoints if k in poses.skeleton.keypoints)
    positions = Skeleton("shared", keypoints).positions_in(people.skeleton)
    predicted = keypoints_of_people(people, _confident(poses, min_score), keypoints)
    away = (predicted - people.keypoints[:, positions]) / _longer_side(people.box)[:, None, None]
    away = np.where(people.labelled[:, positions, None], away, np.nan)

    offset, error, count = np.full((len(keypoints), 2), np.nan), np.full((len(keypoints), 2), np.nan), []
    for k, keypoint in enumerate(keypoints):
        pooled, partner = [away[:, k]], people.skeleton.flipped(keypoint)
        if partner != keypoint and partner in keypoints:
            pooled.append(away[:, keypoints.index(partner)] * [-1, 1])
        residuals = np.concatenate(pooled)
        residuals = residuals[~np.isnan(residuals).any(axis=1)]
        count.append(len(residuals))
        if len(residuals):
            offset[k] = np.median(residuals, axis=0)
        if len(residuals) >= MIN_LABELS:
            spread = np.median(np.abs(residuals - offset[k]), axis=0)
            error[k] = ERROR_OF_MEDIAN * spread / np.sqrt(len(residuals))
        if partner == keypoint and len(residuals):
            offset[k, 0] = error[k, 0] = 0.0
    return Calibration(teacher, dataset, keypoints, offset, error, np.array(count, dtype=np.int64))


def _confident(poses: Poses, min_score: float) -> Poses:
    """Return the poses without the keypoints whose score is at most `min_score`."""
    keypoints = np.where((poses.confidence > min_score)[..., None], poses.keypoints, np.nan)
    return Poses(poses.skeleton, poses.image_id, keypoints, poses.confidence, poses.score, poses.person)


def _longer_side(box: np.ndarray) -> np.ndarray:
    return box[:, 2:].max(axis=1)
