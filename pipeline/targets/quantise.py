"""Targets as bytes: each map, or row of bins, divided by its own peak, in 255 levels, with few levels in the tail."""

import itertools

import cv2
import numpy as np

LEVELS = 255
TAIL = 128
"""Below this level, half of the peak, levels are coarse. There a target is noise and slopes, and takes most of the bytes."""
ROOTS = 12
"""Coarse levels are squares of multiples of 1 / 12 of the peak's root, so that rounding costs a distribution equally much everywhere."""
DEAD_ZONE = 4
"""Up to this level, 1.8 % of the peak, a target is stored as zero."""

MAP_AXES, BIN_AXES = (-2, -1), (-1,)
"""The axes of one target: the last ones."""


def stored_levels() -> np.ndarray:
    """Return the stored level of each level: uint8 (256,)."""
    levels = np.arange(LEVELS + 1)
    coarse = np.rint(LEVELS * (np.rint(ROOTS * np.sqrt(levels / LEVELS)) / ROOTS) ** 2)
    return np.where(levels <= DEAD_ZONE, 0, np.where(levels < TAIL, coarse, levels)).astype(np.uint8)


STORED_LEVELS = stored_levels()


def quantise(values: np.ndarray, axes: tuple[int, ...] = MAP_AXES) -> tuple[np.ndarray, np.ndarray]:
    """Return levels uint8 (shape of `values`) and peaks float32 (without `axes`) of non-negative values. An all-zero target has peak 0.

    The peak and its neighbours, from which keypoints are decoded, keep all 255 levels.
    """
    head, shape = values.shape[: -len(axes)], values.shape[-len(axes) :]
    flat = values.reshape(-1, *shape)
    targets = np.arange(len(flat))
    at = np.unravel_index(flat.reshape(len(flat), -1).argmax(axis=1), shape)
    peak = flat[targets, *at]
    relative = flat / np.expand_dims(np.where(peak > 0, peak, 1), axes)
    relative *= LEVELS
    fine = np.rint(relative, out=relative).astype(np.uint8)
    levels = cv2.LUT(fine.reshape(-1, shape[-1]), STORED_LEVELS).reshape(fine.shape)
    for step in itertools.product((-1, 0, 1), repeat=len(shape)):
        near = tuple((place + by).clip(0, size - 1) for place, by, size in zip(at, step, shape, strict=True))
        levels[targets, *near] = fine[targets, *near]
    return levels.reshape(values.shape), peak.reshape(head)


def dequantise(levels: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return heatmaps float32 (..., K, H, W) from levels (..., K, H, W) and peaks (..., K)."""
    return levels.astype(np.float32) * (peak.astype(np.float32) / LEVELS)[..., None, None]


def distribution(levels: np.ndarray) -> np.ndarray:
    """Return distributions float32 (..., K, bins), each with sum 1, from levels (..., K, bins). All-zero levels stay zero."""
    values = levels.astype(np.float32)
    return values / values.sum(axis=-1, keepdims=True).clip(1)
