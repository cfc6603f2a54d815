"""What a network's raw output means: non-negative maps, a confidence, keypoints. One home for teachers, students and stored targets."""

import numpy as np

from pipeline.frames import Convention, apply
from pipeline.spec import Kind
from pipeline.targets.decode import decode, mass_at_peak

UDP_BLUR = 11


def maps_and_scores(raw: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative maps float32 (..., K, H, W) and confidences (..., K) in 0-1 of raw outputs (..., K, H, W).

    `heatmap`: negatives are cut, the peak is the confidence. `heatmap_logits`: spatial softmax, and the confidence is the
    probability within two pixels of the peak.
    """
    if kind == "heatmap":
        maps = np.maximum(raw, 0).astype(np.float32)
        return maps, maps.max(axis=(-2, -1)).clip(0, 1)
    shifted = np.exp(raw.astype(np.float32) - raw.max(axis=(-2, -1), keepdims=True))
    maps = shifted / shifted.sum(axis=(-2, -1), keepdims=True)
    return maps, mass_at_peak(maps)


def keypoints(maps: np.ndarray, image_from_target: np.ndarray, kind: Kind, affine: Convention) -> np.ndarray:
    """Keypoints (..., K, 2) in image pixels of maps (..., K, H, W) under affines (..., 2, 3).

    Heatmaps of `classic` networks are decoded to quarter pixels as their makers do, of `udp` networks with DARK; softmax
    maps are narrow Gaussians and need no blur. A map without a positive value gives NaN.
    """
    if kind == "heatmap" and affine == "classic":
        points, peak = decode(maps, "quarter")
    else:
        points, peak = decode(maps, "newton", UDP_BLUR if kind == "heatmap" else 0)
    return np.where(peak[..., None] > 0, apply(image_from_target, points), np.nan)
