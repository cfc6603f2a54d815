"""Augmentation of the student's crops alone: colour and cut-out, per batch, on the training device. Jitter is in stages.training.loader.

The teachers' stored targets do not depend on it.
"""

import torch


def recolored(crops: torch.Tensor, strength: float, random: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of float crops (B, H, W, 3) on 0-255, each by up to `strength` (0 to 1)."""
    brightness, contrast, saturation = (1 + strength * (2 * torch.rand(3, len(crops), 1, 1, generator=random) - 1)).to(
        crops.device
    )
    pixels = crops.to(torch.float32, copy=True).flatten(1, 2).mul_(brightness)
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    grey = pixels.new_tensor([0.299, 0.587, 0.114])[:, None].expand(3, 3)
    mixing = saturation * torch.eye(3, device=crops.device) + (1 - saturation) * grey
    mixed = torch.baddbmm(mean * (1 - contrast), pixels, contrast * mixing)
    return mixed.clamp_(0, 255).view(crops.shape)


def cut_out(crops: torch.Tensor, probability: float, random: torch.Generator) -> torch.Tensor:
    """Replace a rectangle of crops (B, H, W, 3), each with that probability, by the crop's mean colour (DeVries & Taylor 2017).

    Each side of the rectangle is a fifth to two fifths of the crop's.
    """
    count, height, width, _ = crops.shape
    draw = torch.rand(5, count, 1, generator=random).to(crops.device)
    cut, size_y, size_x, y, x = draw

    def covered(pixels: int, size: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
        half = (0.1 + 0.1 * size) * pixels
        return (torch.arange(pixels, device=crops.device) - centre * pixels).abs() < half

    hole = (
        covered(height, size_y, y)[:, :, None] & covered(width, size_x, x)[:, None, :] & (cut < probability)[:, :, None]
    )
    return torch.where(hole[..., None], crops.mean(dim=(1, 2), keepdim=True), crops)
