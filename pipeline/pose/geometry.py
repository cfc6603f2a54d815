"""Pixel frames and the 2 x 3 affines between them, named `target_from_source`; the centre of a first pixel is (0, 0).

Regions are unpadded parts of the image; each network pads, widens and maps them under its own convention:
`classic` (MMPose's TopdownAffine and MSRA heatmaps: pixel counts are ratios) or `udp` (Huang et al., "The Devil is in the
Details": distances between pixel centres are). Rotations have one sign for both: positive turns the crop window clockwise
on the screen, so the image in it turns counter-clockwise. MMPose's `udp` matrix turns the other way round.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Convention = Literal["classic", "udp"]
"""How a network maps pixels of one frame to another, see above."""


@dataclass(frozen=True)
class Regions:
    """N unpadded regions in image pixels: `center` (N, 2), `size` (N, 2) width and height, `rotation` (N,) in degrees."""

    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray

    def __len__(self) -> int:
        return len(self.center)

    def __getitem__(self, which: slice | np.ndarray) -> "Regions":
        return Regions(self.center[which], self.size[which], self.rotation[which])


def regions_of_boxes(boxes: np.ndarray) -> Regions:
    """Return the upright regions of boxes (N, 4) given as x, y, width, height in image pixels."""
    return Regions(boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:].copy(), np.zeros(len(boxes)))


def input_from_image(regions: Regions, input_wh: tuple[int, int], padding: float, convention: Convention) -> np.ndarray:
    """Return affines (N, 2, 3) that crop each region, padded and widened to the input's aspect, to `input_wh` pixels."""
    width, height = input_wh
    padded = regions.size * padding
    aspect = width / height
    side_x = np.maximum(padded[:, 0], padded[:, 1] * aspect)
    side_y = side_x / aspect
    if convention == "classic":
        scale_x = scale_y = width / side_x
        origin = np.array([width / 2, height / 2])
    else:
        scale_x, scale_y = (width - 1) / side_x, (height - 1) / side_y
        origin = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = np.deg2rad(regions.rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.stack([cos * scale_x, sin * scale_x, -sin * scale_y, cos * scale_y], axis=-1).reshape(-1, 2, 2)
    shift = origin - (linear @ regions.center[:, :, None])[:, :, 0]
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def heatmap_from_input(input_wh: tuple[int, int], heatmap_wh: tuple[int, int], convention: Convention) -> np.ndarray:
    """Return the affine (2, 3) from input pixels to heatmap pixels."""
    if convention == "classic":
        x, y = heatmap_wh[0] / input_wh[0], heatmap_wh[1] / input_wh[1]
    else:
        x, y = (heatmap_wh[0] - 1) / (input_wh[0] - 1), (heatmap_wh[1] - 1) / (input_wh[1] - 1)
    return np.array([[x, 0.0, 0.0], [0.0, y, 0.0]])


def mirror_affine(width: int) -> np.ndarray:
    """Return the affine (2, 3) that mirrors a frame of `width` pixels left to right; it is its own inverse."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def compose(c_from_b: np.ndarray, b_from_a: np.ndarray) -> np.ndarray:
    """Return the affines (..., 2, 3) that apply `b_from_a` first and `c_from_b` second."""
    linear = c_from_b[..., :2] @ b_from_a[..., :2]
    shift = c_from_b[..., :2] @ b_from_a[..., 2:] + c_from_b[..., 2:]
    return np.concatenate([linear, shift], axis=-1)


def invert(b_from_a: np.ndarray) -> np.ndarray:
    """Return the inverse affines (..., 2, 3)."""
    linear = np.linalg.inv(b_from_a[..., :2])
    return np.concatenate([linear, -linear @ b_from_a[..., 2:]], axis=-1)


def apply(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points (..., M, 2) of frame a in frame b, under affines (..., 2, 3)."""
    return points @ np.swapaxes(b_from_a[..., :2], -1, -2) + b_from_a[..., None, :, 2]


def diagonal(b_from_a: np.ndarray, tolerance: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """Return scale (..., 2) and shift (..., 2) of affines that do not rotate; ValueError if one does.

    The tolerance is relative to the scale: at 1e-6 a map of 1,000 pixels is off by a thousandth of a pixel at its far end.
    """
    scale = np.stack([b_from_a[..., 0, 0], b_from_a[..., 1, 1]], axis=-1)
    off = np.maximum(np.abs(b_from_a[..., 0, 1]), np.abs(b_from_a[..., 1, 0]))
    if np.any(off > tolerance * np.abs(scale).max(axis=-1)):
        raise ValueError("frames are rotated against each other: expected views that share a rotation")
    return scale, b_from_a[..., 2]
