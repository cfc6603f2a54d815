"""Training targets as distributions in the student's frame: rendered truth, and teachers' targets replayed into it (torch).

Targets are maps (B, K, H, W) alone, or bins: one row per axis, (B, K, Wx) and (B, K, Hy).
"""

import functools
import math
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

Filter = Literal["linear", "wide", "spline"]
PADDING = 16
NOTHING = 1e-8
"""Zeros around a source that is to be a spline, and the weight that is left of a pixel so far away: rounded to none."""


def gaussians(points: torch.Tensor, wh: tuple[int, int], sigma: float, bins: bool) -> tuple[torch.Tensor, ...]:
    """Distributions, each summing to 1, around points (..., K, 2) in pixels, or bins, of a frame of `wh`; sigma in the same.

    The Gaussian sits at the exact point, not at the nearest pixel (UDP). A point outside the frame still gives a distribution:
    whether it counts is the caller's mask.
    """

    def axis(centre: torch.Tensor, count: int) -> torch.Tensor:
        distance = torch.arange(count, device=points.device, dtype=points.dtype) - centre[..., None]
        return torch.softmax(-0.5 * (distance / sigma) ** 2, dim=-1)

    x, y = axis(points[..., 0], wh[0]), axis(points[..., 1], wh[1])
    return (x, y) if bins else (_product(x, y),)


def resample(
    targets: tuple[torch.Tensor, ...], scale: torch.Tensor, shift: torch.Tensor, wh: tuple[int, int], bins: bool
) -> tuple[torch.Tensor, ...]:
    """Non-negative targets in another frame of `wh` pixels (or `bins`), zero outside the source.

    `source = scale * target + shift` per axis, (B, 2) each, in pixels; a negative x scale mirrors, and a shift (B, K, 2) is each
    keypoint's own. The identity gives the input back.

    Maps are read as the cubic spline through their pixels (Unser, "Splines: a perfect fit for signal and image processing", 1999),
    its pieces as wide as a target pixel where that is the coarser; what swings below zero is cut. They become bins by summing
    what falls inside the frame over the other axis. Bins, of which there are many, are interpolated linearly, under a triangle of
    one target bin where the target is coarser. They become maps as the product of both, `wide`, for what is narrower than a
    pixel has no decodable place between two.
    """
    separate = len(targets) == 2
    each = "k" if shift.ndim == 3 else ""
    if separate and bins:
        x, y = (_interpolated(axis, wh[i], scale[:, i], shift[..., i]) for i, axis in enumerate(targets))
        return x, y
    filter_: Filter = "wide" if separate else "spline"
    across = _interpolation(targets[0].shape[-1], wh[0], scale[:, 0], shift[..., 0], filter_)
    down = _interpolation(targets[-1].shape[-1 if separate else -2], wh[1], scale[:, 1], shift[..., 1], filter_)
    if separate:
        x, y = (torch.einsum(f"b{each}ts,bks->bkt", w, axis) for w, axis in zip((across, down), targets, strict=True))
        return (_product(x, y),)
    maps = _factors(targets[0]) if each else targets[0]
    if not bins:
        return (torch.einsum(f"b{each}yh,bkhw,b{each}xw->bkyx", down, maps, across).clamp(min=0),)
    return (
        torch.einsum(f"b{each}h,bkhw,b{each}xw->bkx", down.sum(dim=-2), maps, across).clamp(min=0),
        torch.einsum(f"b{each}yh,bkhw,b{each}w->bky", down, maps, across.sum(dim=-2)).clamp(min=0),
    )


def warp(
    maps: torch.Tensor, source_from_target: torch.Tensor, wh: tuple[int, int], bins: bool
) -> tuple[torch.Tensor, ...]:
    """Maps (B, K, H, W) in another frame of `wh` pixels (or `bins`) that may be turned against theirs, zero outside the source.

    `source_from_target` (B, 2, 3), or each keypoint's own (B, K, 2, 3) that differ in their shift alone, in pixels. Turned at the
    source's own scale, bilinear between half pixels of the spline, and brought to the target's by `resample`.
    """
    affine = source_from_target.double()
    scale = (affine[:, 0] if affine.ndim == 4 else affine)[..., :2].norm(dim=1)
    margin = 4 + 2 * max(1, math.ceil(float(scale.max())))
    width, height = (math.ceil(float(scale[:, i].max()) * (side - 1)) + 1 + 2 * margin for i, side in enumerate(wh))
    step = affine[..., :2] / (scale[:, None, None] if affine.ndim == 4 else scale[:, None])
    first = affine[..., 2] - margin * step.sum(dim=-1)
    turned = _turned(maps, step, first, (width, height))
    return resample((turned,), scale, torch.full_like(scale, margin), wh, bins)


def _turned(maps: torch.Tensor, step: torch.Tensor, first: torch.Tensor, wh: tuple[int, int]) -> torch.Tensor:
    """Maps at `step @ (x, y) + first` for the pixels of a frame of `wh`."""
    count, keypoints, height, width = maps.shape
    half = step.new_full((count, 2), 0.5)
    (finer,) = resample((maps,), half, torch.full_like(half, -1.0), (2 * width + 3, 2 * height + 3), bins=False)
    x, y = (torch.arange(side, device=maps.device, dtype=step.dtype) for side in wh)
    step, first = step[..., None, None, :, :], first[..., None, None, :]
    at = 2 * (step[..., 0] * x[:, None] + step[..., 1] * y[:, None, None] + first + 1)
    grid = (2 * at + 1) / step.new_tensor([2 * width + 3, 2 * height + 3]) - 1
    if grid.ndim == 5:
        finer, grid = finer.flatten(0, 1)[:, None], grid.flatten(0, 1)
    sampled = functional.grid_sample(finer, grid.to(maps.dtype), "bilinear", "zeros", align_corners=False)
    return sampled.reshape(count, keypoints, wh[1], wh[0])


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y[..., :, None] * x[..., None, :]


def _interpolation(source: int, target: int, scale: torch.Tensor, shift: torch.Tensor, filter_: Filter) -> torch.Tensor:
    """Weights (B, target, source), or (B, K, target, source) for shifts (B, K), of one axis, whose means are the points asked for.

    `linear`: a triangle that falls to zero one pixel away, of source or target, whichever is coarser; `wide`: two target pixels
    away; `spline`: the cubic B-spline, zero two pixels away. Splines of one shift for all keypoints pass through the source's
    values; those of shifts (B, K) want `_factors` of it, (source + 2 PADDING) a side, as that many weights are too slow to turn.
    """
    around = PADDING if filter_ == "spline" else 0
    near, weights = _taps(source + 2 * around, target, scale, shift + around, filter_)
    weights = weights if shift.ndim == 1 else weights.to(torch.float32)
    dense = weights.new_zeros(*weights.shape[:-1], source + 2 * around).scatter(-1, near, weights)
    if filter_ == "spline" and shift.ndim == 1:
        dense = dense @ torch.from_numpy(_coefficients(source)).to(dense)
        dense = torch.where(dense.abs() > NOTHING, dense, 0.0)
    return dense.to(torch.float32)


def _interpolated(rows: torch.Tensor, target: int, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Rows of bins (B, K, source) at `target` places, `linear`; shifts (B,) or (B, K). Only the bins within reach are looked at."""
    near, weights = _taps(rows.shape[-1], target, scale, shift, "linear")
    if shift.ndim == 1:
        near, weights = near[:, None], weights[:, None]
    values = (
        rows[..., None, :].expand(*rows.shape[:2], target, -1).gather(-1, near.expand(*rows.shape[:2], *near.shape[2:]))
    )
    return (weights.to(torch.float32) * values).sum(dim=-1)


def _taps(
    source: int, target: int, scale: torch.Tensor, shift: torch.Tensor, filter_: Filter
) -> tuple[torch.Tensor, torch.Tensor]:
    """The source pixels within reach of each target pixel and their weights, both (B, target, N), or (B, K, target, N)."""
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
    """The cubic B-spline at distances of at least 0."""
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, outer)


def _factors(maps: torch.Tensor) -> torch.Tensor:
    """What B-splines are multiplied by to pass through maps (B, K, H, W): (B, K, H + 2 PADDING, W + 2 PADDING)."""
    down, across = (torch.from_numpy(_coefficients(side)).to(maps) for side in maps.shape[2:])
    return down @ maps @ across.T


@functools.cache
def _coefficients(source: int) -> np.ndarray:
    """Float64 (source + 2 PADDING, source): a row per B-spline, its factor from the values that all pass through; zeros around."""
    count = source + 2 * PADDING
    through = (
        np.diag(np.full(count, 2 / 3)) + np.diag(np.full(count - 1, 1 / 6), 1) + np.diag(np.full(count - 1, 1 / 6), -1)
    )
    return np.ascontiguousarray(np.linalg.inv(through)[:, PADDING:-PADDING])


def total(target: torch.Tensor) -> torch.Tensor:
    """Sum (B, K, 1...) of each map or row of bins, to be divided by."""
    return target.sum(dim=tuple(range(2, target.ndim)), keepdim=True)


def normalised(targets: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Targets over their sums; an all-zero one stays zero (it has no distribution: mask it)."""
    return tuple(target / total(target).clamp(min=1e-12) for target in targets)
