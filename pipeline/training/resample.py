"""Arithmetic of distributions: Gaussians around points, and resampling by a scale and a shift (torch). student_frame.py says which.

Targets are a tuple: maps (B, K, H, W) alone, or bins, one row per axis, (B, K, Wx) and (B, K, Hy).
"""

import functools
import math
from typing import Literal

import numpy as np
import torch

Filter = Literal["linear", "wide", "spline"]
SPLINE_PADDING = 16
"""Number of zeros put around an axis before it is read as a spline."""

NEGLIGIBLE = 1e-8
"""Weights of a spline up to this are rounded to 0; a pixel SPLINE_PADDING away has a smaller one."""


def gaussians(points: torch.Tensor, wh: tuple[int, int], sigma: float, bins: bool) -> tuple[torch.Tensor, ...]:
    """Return Gaussian distributions, each summing to 1, around points (..., K, 2).

    Points and `sigma` are in pixels, or bins, of a frame of width and height `wh`. The centre is the exact point, not the nearest
    pixel (UDP). A point outside the frame gives a distribution as well: the caller has to mask it.
    """

    def axis(centre: torch.Tensor, count: int) -> torch.Tensor:
        distance = torch.arange(count, device=points.device, dtype=points.dtype) - centre[..., None]
        return torch.softmax(-0.5 * (distance / sigma) ** 2, dim=-1)

    x, y = axis(points[..., 0], wh[0]), axis(points[..., 1], wh[1])
    return (x, y) if bins else (_product(x, y),)


def resample_targets(
    targets: tuple[torch.Tensor, ...], scale: torch.Tensor, shift: torch.Tensor, wh: tuple[int, int], bins: bool
) -> tuple[torch.Tensor, ...]:
    """Resample non-negative targets into another frame of `wh` pixels (or bins, with `bins`); zero outside the source.

    `source = scale * target + shift` per axis, (B, 2) each, in pixels. A negative x scale mirrors; a shift (B, K, 2) gives each
    keypoint its own. The identity returns the input.

    Maps are read as the cubic spline through their pixels (Unser, "Splines: a perfect fit for signal and image processing", 1999).
    Its pieces are as wide as a pixel of source or target, whichever is coarser, and negative values become zero. Maps become bins
    by a sum over the other axis, of what lies inside the frame. Bins are interpolated linearly, under a triangle of one target bin
    where the target is coarser. Bins become maps as the product of both axes under the filter `wide`, because the position of a
    peak that is narrower than a pixel cannot be decoded between two pixels.
    """
    separate = len(targets) == 2
    per_keypoint = "k" if shift.ndim == 3 else ""
    if separate and bins:
        taps = [_taps(axis.shape[-1], wh[i], scale[:, i], shift[..., i], "linear") for i, axis in enumerate(targets)]
        return _gathered(targets[0], *taps[0]), _gathered(targets[1], *taps[1])
    if bins:
        return _bins_of_maps(targets[0], scale, shift, wh)
    filter_: Filter = "wide" if separate else "spline"
    across = _interpolation(targets[0].shape[-1], wh[0], scale[:, 0], shift[..., 0], filter_)
    down = _interpolation(targets[-1].shape[-1 if separate else -2], wh[1], scale[:, 1], shift[..., 1], filter_)
    if separate:
        x, y = (
            torch.einsum(f"b{per_keypoint}ts,bks->bkt", weights, axis)
            for weights, axis in zip((across, down), targets, strict=True)
        )
        return (_product(x, y),)
    rows, columns = f"b{per_keypoint}yh", f"b{per_keypoint}xw"
    maps = _spline_factors(targets[0]) if per_keypoint else targets[0]
    return (torch.einsum(f"{rows},bkhw,{columns}->bkyx", down, maps, across).clamp(min=0),)


def _bins_of_maps(
    maps: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, wh: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bins of x and of y of maps (B, K, H, W): each axis is first summed over the other, and then resampled alone."""
    per_keypoint = "k" if shift.ndim == 3 else ""
    sides = maps.shape[:1:-1]
    taps = [
        _taps(side + 2 * SPLINE_PADDING, wh[i], scale[:, i], shift[..., i] + SPLINE_PADDING, "spline")
        for i, side in enumerate(sides)
    ]
    through = [torch.from_numpy(_spline_coefficients(side)).to(scale) for side in sides]
    columns, rows = (
        (weights.new_zeros(*weights.shape[:-2], len(c)).scatter_add(-1, near.flatten(-2), weights.flatten(-2)) @ c)
        for (near, weights), c in zip(taps, through, strict=True)
    )
    x = torch.einsum(f"b{per_keypoint}h,bkhw->bkw", rows.to(maps), maps)
    y = torch.einsum(f"b{per_keypoint}w,bkhw->bkh", columns.to(maps), maps)
    across, down = (
        _weighted(axis @ c.T.to(axis), *of_axis).clamp(min=0)
        for axis, c, of_axis in zip((x, y), through, taps, strict=True)
    )
    return across, down


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y[..., :, None] * x[..., None, :]


def _interpolation(source: int, target: int, scale: torch.Tensor, shift: torch.Tensor, filter_: Filter) -> torch.Tensor:
    """Return the interpolation weights of one axis, (B, target, source), or (B, K, target, source) for shifts (B, K).

    `linear` is a triangle that falls to zero one pixel away, of source or target, whichever is coarser; `wide` is a triangle that
    falls to zero two target pixels away; `spline` is the cubic B-spline, zero two pixels away. Weights of a spline with one shift
    for all keypoints apply to the source's values. Weights with shifts (B, K) apply to the `_spline_factors` of the source,
    (source + 2 SPLINE_PADDING) a side, because multiplying that many weights by the coefficients is too slow.
    """
    around = SPLINE_PADDING if filter_ == "spline" else 0
    near, weights = _taps(source + 2 * around, target, scale, shift + around, filter_)
    weights = weights if shift.ndim == 1 else weights.to(torch.float32)
    dense = weights.new_zeros(*weights.shape[:-1], source + 2 * around).scatter(-1, near, weights)
    if filter_ == "spline" and shift.ndim == 1:
        dense = dense @ torch.from_numpy(_spline_coefficients(source)).to(dense)
        dense = torch.where(dense.abs() > NEGLIGIBLE, dense, 0.0)
    return dense.to(torch.float32)


def _weighted(rows: torch.Tensor, near: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return what `_gathered` does; of one shift for all keypoints as a product of matrices, which is faster where rows are short."""
    if near.ndim == 4:
        return _gathered(rows, near, weights)
    dense = rows.new_zeros(*weights.shape[:-1], rows.shape[-1]).scatter_(-1, near, weights.to(rows))
    return rows @ dense.transpose(1, 2)


def _gathered(rows: torch.Tensor, near: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted sums of `rows` (B, K, source) at the pixels `near`, both (B, target, N) or (B, K, target, N): (B, K, target)."""
    if near.ndim == 3:
        near, weights = near[:, None], weights[:, None]
    wide = rows[..., None, :].expand(*rows.shape[:2], near.shape[2], -1)
    values = wide.gather(-1, near.expand(*rows.shape[:2], *near.shape[2:]))
    return (weights.to(torch.float32) * values).sum(dim=-1)


def _taps(
    source: int, target: int, scale: torch.Tensor, shift: torch.Tensor, filter_: Filter
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the N source pixels within reach of each target pixel, and their weights: both (B, target, N), or (B, K, target, N)."""
    pixels = torch.arange(target, device=scale.device, dtype=scale.dtype)
    at = (scale[:, None] * pixels).reshape(len(scale), *[1] * (shift.ndim - 1), target) + shift[..., None]
    reach = (scale.abs() * (2 if filter_ == "wide" else 1)).clamp(min=1)
    radius = math.ceil(float(reach.max()) * (2 if filter_ == "spline" else 1))
    count = min(2 * radius + 1, source)
    near = (at.round().long() - radius).clamp(0, source - count)[..., None] + torch.arange(count, device=scale.device)
    reach = reach.reshape(-1, *[1] * (near.ndim - 1))
    distance = (at[..., None] - near).abs() / reach
    return near, (_cubic(distance) if filter_ == "spline" else (1 - distance).clamp(min=0)) / reach


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Return the cubic B-spline at distances of at least 0."""
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, outer)


def _spline_factors(maps: torch.Tensor) -> torch.Tensor:
    """Return the factors of the B-splines that pass through maps (B, K, H, W): (B, K, H + 2 SPLINE_PADDING, W + 2 SPLINE_PADDING)."""
    down, across = (torch.from_numpy(_spline_coefficients(side)).to(maps) for side in maps.shape[2:])
    return down @ maps @ across.T


@functools.cache
def _spline_coefficients(source: int) -> np.ndarray:
    """Return the matrix that gives B-spline factors from the values of an axis with zeros around it.

    float64 (source + 2 SPLINE_PADDING, source), a row per B-spline.
    """
    count = source + 2 * SPLINE_PADDING
    through = (
        np.diag(np.full(count, 2 / 3)) + np.diag(np.full(count - 1, 1 / 6), 1) + np.diag(np.full(count - 1, 1 / 6), -1)
    )
    return np.ascontiguousarray(np.linalg.inv(through)[:, SPLINE_PADDING:-SPLINE_PADDING])


def target_sums(target: torch.Tensor) -> torch.Tensor:
    """Return the sum of each map or row of bins, (B, K, 1, ...), with the number of dimensions of the target."""
    return target.sum(dim=tuple(range(2, target.ndim)), keepdim=True)


def normalised_targets(targets: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Divide targets by their sums. An all-zero target is no distribution: it stays zero, and the caller has to mask it."""
    return tuple(target / target_sums(target).clamp(min=1e-12) for target in targets)
