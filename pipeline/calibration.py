"""Where a teacher puts its keypoints and where a dataset's annotators put theirs: measuring the offset, and taking it back. No stores."""

from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.scores.poses import Poses, keypoints_of_people
from pipeline.skeletons import Skeleton, mirrored

ERROR_OF_MEDIAN = 1.2533 * 1.4826
"""Standard error of a median in median absolute deviations over the root of the count: exact for normal residuals, and too large for
those with heavier tails."""
LEAST = 10
"""Labels behind an offset that is worth a standard error."""


@dataclass(frozen=True)
class Calibration:
    """The systematic offset of a teacher's keypoints from a dataset's labels, in longer box sides along the picture's x and y."""

    teacher: str
    dataset: str
    keypoints: tuple[str, ...]
    """Names of the K that both have."""
    offset: np.ndarray
    """float64 (K, 2): teacher minus label; NaN where nobody is measured."""
    error: np.ndarray
    """float64 (K, 2): standard error; NaN where fewer than LEAST are measured."""
    count: np.ndarray
    """int64 (K,): labelled keypoints behind it, the mirror partner's included."""

    def significant(self, times: float = 2.0) -> np.ndarray:
        """Bool (K, 2): is the offset larger than so many standard errors?"""
        return np.abs(self.offset) > times * self.error

    def correction(self, teacher: Skeleton, box: np.ndarray, times: float = 2.0) -> np.ndarray:
        """Float32 (N, teacher's K, 2): by how many image pixels to move its keypoints of people with boxes (N, 4), x, y, width, height.

        Minus the offset where it is `significant`; zero elsewhere, and for keypoints that the dataset does not label.
        """
        by = np.zeros((len(teacher), 2))
        positions = [teacher.index(keypoint) for keypoint in self.keypoints]
        by[positions] = np.where(self.significant(times), -np.nan_to_num(self.offset), 0.0)
        return (_longer_side(box)[:, None, None] * by).astype(np.float32)


def calibrate(teacher: str, dataset: str, people: People, poses: Poses, floor: float) -> Calibration:
    """The median of a teacher's poses minus the labels, over people in use that label the keypoint and are seen with a score above `floor`.

    Left keypoints are pooled with mirrored right ones, so that a mirrored picture has the mirrored offset; those on the midline
    then have none in x.
    """
    people = people.rows(people.use)
    keypoints = tuple(k for k in people.skeleton.keypoints if k in poses.skeleton.keypoints)
    positions = Skeleton("shared", keypoints).positions_in(people.skeleton)
    found = keypoints_of_people(people, _confident(poses, floor), keypoints)
    away = (found - people.keypoints[:, positions]) / _longer_side(people.box)[:, None, None]
    away = np.where(people.labelled[:, positions, None], away, np.nan)

    offset, error, count = np.full((len(keypoints), 2), np.nan), np.full((len(keypoints), 2), np.nan), []
    for k, keypoint in enumerate(keypoints):
        pooled = [away[:, k]]
        if mirrored(keypoint) != keypoint and mirrored(keypoint) in keypoints:
            pooled.append(away[:, keypoints.index(mirrored(keypoint))] * [-1, 1])
        residuals = np.concatenate(pooled)
        residuals = residuals[~np.isnan(residuals).any(axis=1)]
        count.append(len(residuals))
        if len(residuals):
            offset[k] = np.median(residuals, axis=0)
        if len(residuals) >= LEAST:
            spread = np.median(np.abs(residuals - offset[k]), axis=0)
            error[k] = ERROR_OF_MEDIAN * spread / np.sqrt(len(residuals))
        if mirrored(keypoint) == keypoint and len(residuals):
            offset[k, 0] = error[k, 0] = 0.0
    return Calibration(teacher, dataset, keypoints, offset, error, np.array(count, dtype=np.int64))


def _confident(poses: Poses, floor: float) -> Poses:
    """The poses without the keypoints whose score is at most `floor`."""
    shown = np.where((poses.confidence > floor)[..., None], poses.keypoints, np.nan)
    return Poses(poses.skeleton, poses.image_id, shown, poses.confidence, poses.score, poses.person)


def _longer_side(box: np.ndarray) -> np.ndarray:
    return box[:, 2:].max(axis=1)
