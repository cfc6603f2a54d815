"""Non-maximum suppression of poses by their similarity (OKS), for boxes from a detector. No average precision."""

import numpy as np

THRESHOLD = 0.9
"""Poses more alike than this are the same person's (HRNet and MMPose on COCO)."""


def oks(keypoints: np.ndarray, area: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Float64 (M, M): similarity of M poses (M, K, 2) with each other, 0-1, under areas (M,) in square pixels and sigmas (K,).

    exp(-d^2 / (2 a (2 sigma)^2)) per keypoint with a the mean of both areas, averaged over the keypoints that both poses
    have (cocodataset.org, keypoint evaluation); 0 where they share none. NaN = missing.
    """
    offset = keypoints[:, None] - keypoints[None]
    shared = np.isfinite(offset).all(axis=3)
    squared = np.where(shared, (np.nan_to_num(offset) ** 2).sum(axis=3), 0.0)
    mean_area = (area[:, None] + area[None]) / 2 + np.spacing(1)
    similarity = np.exp(-squared / (2 * mean_area[..., None] * (2 * sigmas) ** 2))
    return (similarity * shared).sum(axis=2) / np.maximum(shared.sum(axis=2), 1)


def oks_nms(
    image_id: np.ndarray,
    keypoints: np.ndarray,
    score: np.ndarray,
    area: np.ndarray,
    sigmas: np.ndarray,
    threshold: float = THRESHOLD,
) -> np.ndarray:
    """Bool (M,): which poses stay: in each picture, best score first, those at most `threshold` like one that stays.

    Of equal scores the first row goes first. A pose without any keypoint is like no other.
    """
    stays = np.ones(len(score), bool)
    order = np.lexsort((np.arange(len(score)), -score, image_id))
    starts = np.flatnonzero(np.diff(image_id[order])) + 1
    for rows in np.split(order, starts):
        alike = oks(keypoints[rows], area[rows], sigmas) > threshold
        for i, row in enumerate(rows):
            stays[row] = not (alike[i, :i] & stays[rows[:i]]).any()
    return stays
