"""Non-maximum suppression of poses by their similarity (OKS), for boxes from a detector. Computes no average precision."""

import numpy as np

NMS_OKS = 0.9
"""OKS above which two poses are of the same person (HRNet and MMPose on COCO)."""


def oks(keypoints: np.ndarray, area: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Return float64 (M, M): similarity in 0-1 of M poses (M, K, 2) with each other, for areas (M,) in square pixels and sigmas (K,).

    It is exp(-d^2 / (2 a (2 sigma)^2)) per keypoint, where a is the mean of both areas, averaged over the keypoints that both
    poses have (cocodataset.org, keypoint evaluation); 0 where they share none. A missing keypoint is NaN.
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
    threshold: float = NMS_OKS,
) -> np.ndarray:
    """Return bool (M,): which poses are kept.

    In each image, best score first, a pose is kept whose OKS with every kept pose is at most `threshold`. Of equal scores the
    first row comes first. A pose without keypoints is similar to no other.
    """
    kept = np.ones(len(score), bool)
    order = np.lexsort((np.arange(len(score)), -score, image_id))
    starts = np.flatnonzero(np.diff(image_id[order])) + 1
    for rows in np.split(order, starts):
        similar = oks(keypoints[rows], area[rows], sigmas) > threshold
        for i, row in enumerate(rows):
            kept[row] = not (similar[i, :i] & kept[rows[:i]]).any()
    return kept
