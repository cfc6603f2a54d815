"""Training targets as spatial distributions in the student's frame: rendered truth, and teachers' maps replayed into it (torch)."""

import torch


def gaussian_distributions(points: torch.Tensor, wh: tuple[int, int], sigma: float) -> torch.Tensor:
    """Distributions (..., K, H, W), each summing to 1, around points (..., K, 2) in heatmap pixels; sigma in heatmap pixels.

    The Gaussian sits at the exact point, not at the nearest pixel (UDP). A point outside the map still gives a distribution:
    whether it counts is the caller's mask.
    """

    def axis(centre: torch.Tensor, count: int) -> torch.Tensor:
        distance = torch.arange(count, device=points.device, dtype=points.dtype) - centre[..., None]
        return torch.softmax(-0.5 * (distance / sigma) ** 2, dim=-1)

    x, y = axis(points[..., 0], wh[0]), axis(points[..., 1], wh[1])
    return y[..., :, None] * x[..., None, :]


def resample(maps: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, wh: tuple[int, int]) -> torch.Tensor:
    """Maps (B, K, H, W) in another frame of `wh` pixels: float (B, K, wh[1], wh[0]), zero outside the source.

    `source = scale * target + shift` per axis, (B, 2) each, in pixels; a negative x scale mirrors. Linear interpolation
    where the target is finer, a triangle filter of one target pixel where it is coarser. The identity gives the input back.
    """
    across = _interpolation(maps.shape[3], wh[0], scale[:, 0], shift[:, 0])
    down = _interpolation(maps.shape[2], wh[1], scale[:, 1], shift[:, 1])
    return torch.einsum("byh,bkhw,bxw->bkyx", down, maps, across)


def _interpolation(source: int, target: int, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Weights (B, target, source) of one axis."""
    at = scale[:, None] * torch.arange(target, device=scale.device, dtype=scale.dtype) + shift[:, None]
    distance = at[:, :, None] - torch.arange(source, device=scale.device, dtype=scale.dtype)
    reach = scale.abs().clamp(min=1)[:, None, None]
    weights = (1 - distance.abs() / reach).clamp(min=0) / reach
    return weights.to(torch.float32)


def normalised(maps: torch.Tensor) -> torch.Tensor:
    """Maps (..., H, W) over their sum; an all-zero map stays zero (it has no distribution: mask it)."""
    return maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
