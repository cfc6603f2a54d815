"""Targets as bytes: each map, or row of bins, over its own peak in 255 levels, the tail cut off. Written once, for writer and reader."""

import numpy as np

LEVELS = 255
DEAD_ZONE = 0.02
"""Values below this share of the peak are stored as zero: they are noise to a student and most of the bytes."""

MAP, BINS = (-2, -1), (-1,)
"""The axes that one target fills."""


def quantise(values: np.ndarray, axes: tuple[int, ...] = MAP) -> tuple[np.ndarray, np.ndarray]:
    """Levels uint8 (as `values`) and peaks float32 (without `axes`) of non-negative values; an all-zero target has peak 0."""
    peak = values.max(axis=axes)
    relative = values / np.expand_dims(np.where(peak > 0, peak, 1), axes)
    levels = np.where(relative < DEAD_ZONE, 0, np.rint(relative * LEVELS)).astype(np.uint8)
    return levels, peak


def dequantise(levels: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Heatmaps float32 (..., K, H, W) of levels (..., K, H, W) and peaks (..., K)."""
    return levels.astype(np.float32) * (peak.astype(np.float32) / LEVELS)[..., None, None]


def distribution(levels: np.ndarray) -> np.ndarray:
    """Distributions float32 (..., K, bins), each summing to 1, of levels (..., K, bins); all-zero levels stay zero."""
    values = levels.astype(np.float32)
    return values / values.sum(axis=-1, keepdims=True).clip(1)
