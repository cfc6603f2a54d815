"""Decoding heatmaps to keypoints, in heatmap pixels. Not here: making heatmaps, or the way back to the image."""

from typing import Literal

import cv2
import numpy as np

Refinement = Literal["quarter", "newton"]
"""How the peak is refined below a pixel, see `decode_heatmaps`."""


def decode_heatmaps(heatmaps: np.ndarray, refinement: Refinement, blur: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the peaks (..., K, 2) of heatmaps (..., K, H, W) as x, y in their pixels (centre of the first = 0), and their values (..., K).

    `quarter` moves the largest pixel a quarter towards its larger neighbour (Newell et al., as MSRA heatmaps are decoded);
    `newton` takes one Newton step on the logarithm (DARK, Zhang et al. 2020), after a Gaussian blur of `blur` pixels
    (odd; UDP takes 11; 0 for maps that are narrow Gaussians already). Maps with no positive value give (-1, -1).
    """
    *lead, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width).astype(np.float32)
    flat = maps.reshape(len(maps), height * width).argmax(axis=1)
    y, x = np.divmod(flat, width)
    peak = maps[np.arange(len(maps)), y, x]
    smooth = _blurred(maps, blur) if blur else maps
    offset = _quarter(maps, x, y) if refinement == "quarter" else _newton(smooth, x, y)
    points = np.stack([x, y], axis=1) + offset
    points[peak <= 0] = -1.0
    return points.reshape(*lead, 2), peak.reshape(lead)


def _quarter(maps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    count, height, width = maps.shape
    offset = np.zeros((count, 2))
    n = np.arange(count)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    n, x, y = n[inside], x[inside], y[inside]
    offset[inside, 0] = 0.25 * np.sign(maps[n, y, x + 1] - maps[n, y, x - 1])
    offset[inside, 1] = 0.25 * np.sign(maps[n, y + 1, x] - maps[n, y - 1, x])
    return offset


def _blurred(maps: np.ndarray, size: int) -> np.ndarray:
    """Apply a Gaussian blur that keeps each map's peak value, with zeros beyond the border, as DARK does."""
    border = size // 2
    blurred = np.empty_like(maps)
    for n, map_ in enumerate(maps):
        padded = cv2.copyMakeBorder(map_, border, border, border, border, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.GaussianBlur(padded, (size, size), 0)[border:-border, border:-border]
        blurred[n] = inner * (map_.max() / max(inner.max(), 1e-12))
    return blurred


def _newton(maps: np.ndarray, x: np.ndarray, y: np.ndarray, limit: float = 1.0) -> np.ndarray:
    count = len(maps)
    least = 1e-3 * maps.reshape(count, -1).max(axis=1).clip(1e-9)
    logs = np.log(np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge").clip(least[:, None, None], 50.0)).astype(
        np.float64
    )
    n, x, y = np.arange(count), x + 1, y + 1
    centre = logs[n, y, x]
    right, left, down, up = logs[n, y, x + 1], logs[n, y, x - 1], logs[n, y + 1, x], logs[n, y - 1, x]
    gradient = 0.5 * np.stack([right - left, down - up], axis=1)
    xx, yy = right - 2 * centre + left, down - 2 * centre + up
    xy = 0.5 * (logs[n, y + 1, x + 1] - right - down + 2 * centre - left - up + logs[n, y - 1, x - 1])
    hessian = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2) - 1e-9 * np.eye(2)
    solvable = (np.linalg.det(hessian) > 1e-9) & (xx < 0)
    offset = np.zeros((count, 2))
    offset[solvable] = -np.linalg.solve(hessian[solvable], gradient[solvable][:, :, None])[:, :, 0]
    return np.clip(offset, -limit, limit)


def mass_at_peak(distributions: np.ndarray, radius: int = 2) -> np.ndarray:
    """Return the share (..., K), 0 to 1, of each map's total (..., K, H, W) within `radius` pixels of its largest pixel."""
    *lead, height, width = distributions.shape
    maps = distributions.reshape(-1, height, width)
    y, x = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), width)
    near_x = np.abs(np.arange(width) - x[:, None]) <= radius
    near_y = np.abs(np.arange(height) - y[:, None]) <= radius
    near = np.einsum("nhw,nh,nw->n", maps, near_y, near_x, optimize=True)
    return (near / maps.sum(axis=(1, 2)).clip(1e-12)).reshape(lead)
