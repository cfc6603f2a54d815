"""Training targets as distributions in the student's frame: rendered truth, and teachers' targets replayed into it (torch).

Targets are maps (B, K, H, W) alone, or bins: one row per axis, (B, K, Wx) and (B, K, Hy).
"""

from typing import Literal

import torch

Filter = Literal["linear", "wide", "smooth"]


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

    `source = scale * target + shift` per axis, (B, 2) each, in pixels; a negative x scale mirrors. Linear interpolation
    where the target is finer, a triangle filter of one target pixel where it is coarser. The identity gives the input back.

    Bins become maps as the product of both, `wide`, for what is narrower than a pixel has no decodable place between two.
    Maps become bins by summing what falls inside the frame over the other axis, `smooth`, for linear interpolation has its
    largest bin on a source pixel, half of which is two input pixels.
    """
    separate = len(targets) == 2
    filter_: Filter = "linear" if separate == bins else "wide" if separate else "smooth"
    across = _interpolation(targets[0].shape[-1], wh[0], scale[:, 0], shift[:, 0], filter_)
    down = _interpolation(targets[-1].shape[-1 if separate else -2], wh[1], scale[:, 1], shift[:, 1], filter_)
    if separate:
        x, y = (torch.einsum("bts,bks->bkt", w, axis) for w, axis in zip((across, down), targets, strict=True))
        return (x, y) if bins else (_product(x, y),)
    (maps,) = targets
    if not bins:
        return (torch.einsum("byh,bkhw,bxw->bkyx", down, maps, across),)
    return (
        torch.einsum("bh,bkhw,bxw->bkx", down.sum(dim=1), maps, across),
        torch.einsum("byh,bkhw,bw->bky", down, maps, across.sum(dim=1)),
    )


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y[..., :, None] * x[..., None, :]


def _interpolation(source: int, target: int, scale: torch.Tensor, shift: torch.Tensor, filter_: Filter) -> torch.Tensor:
    """Weights (B, target, source) of one axis, whose means are the points that are asked for.

    `linear`: a triangle that falls to zero one pixel away, of source or target, whichever is coarser; `wide`: two target pixels
    away; `smooth`: the quadratic B-spline, zero one and a half pixels away.
    """
    at = scale[:, None] * torch.arange(target, device=scale.device, dtype=scale.dtype) + shift[:, None]
    distance = (at[:, :, None] - torch.arange(source, device=scale.device, dtype=scale.dtype)).abs()
    reach = (scale.abs() * (2 if filter_ == "wide" else 1)).clamp(min=1)[:, None, None]
    distance = distance / reach
    if filter_ == "smooth":
        weights = torch.where(distance < 0.5, 0.75 - distance**2, (1.5 - distance).clamp(min=0) ** 2 / 2)
    else:
        weights = (1 - distance).clamp(min=0)
    return (weights / reach).to(torch.float32)


def total(target: torch.Tensor) -> torch.Tensor:
    """Sum (B, K, 1...) of each map or row of bins, to be divided by."""
    return target.sum(dim=tuple(range(2, target.ndim)), keepdim=True)


def normalised(targets: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Targets over their sums; an all-zero one stays zero (it has no distribution: mask it)."""
    return tuple(target / total(target).clamp(min=1e-12) for target in targets)
