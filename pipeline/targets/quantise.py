"""Heatmaps as bytes: each map over its own peak in 255 levels, the tail cut off. Written once, for writer and reader."""

import numpy as np

LEVELS = 255
DEAD_ZONE = 0.02
"""Values below this share of the peak are stored as zero: they are noise to a student and most of the bytes."""


def quantise(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels uint8 (..., K, H, W) and peaks float16 (..., K) of non-negative maps (..., K, H, W); an all-zero map has peak 0."""
    peak = heatmaps.max(axis=(-2, -1))
    relative = heatmaps / np.where(peak > 0, peak, 1)[..., None, None]
    levels = np.where(relative < DEAD_ZONE, 0, np.rint(relative * LEVELS)).astype(np.uint8)
    return levels, peak.astype(np.float16)


def dequantise(levels: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Heatmaps float32 (..., K, H, W) of levels (..., K, H, W) and peaks (..., K)."""
    return levels.astype(np.float32) * (peak.astype(np.float32) / LEVELS)[..., None, None]
