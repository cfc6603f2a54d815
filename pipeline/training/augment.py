"""Augmentation that teachers are blind to: colour and cut-out, per batch and on the training device. Geometry is elsewhere."""

import torch


def recolored(crops: torch.Tensor, strength: float, random: torch.Generator) -> torch.Tensor:
    """Float crops (B, H, W, 3) on 0-255 with brightness, contrast and saturation changed by up to `strength` (0 to 1) each."""
    factors = 1 + strength * (2 * torch.rand(3, len(crops), 1, 1, 1, generator=random) - 1).to(crops.device)
    brightness, contrast, saturation = factors
    x = crops.float() * brightness
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * contrast
    grey = (x * x.new_tensor([0.299, 0.587, 0.114])).sum(dim=3, keepdim=True)
    return (grey + (x - grey) * saturation).clamp(0, 255)


def cut_out(crops: torch.Tensor, probability: float, random: torch.Generator) -> torch.Tensor:
    """Crops (B, H, W, 3) with one rectangle, a fifth to two fifths of each side, turned to the crop's mean colour (DeVries & Taylor 2017)."""
    count, height, width, _ = crops.shape
    draw = torch.rand(5, count, 1, generator=random).to(crops.device)
    cut, size_y, size_x, y, x = draw

    def covered(pixels: int, size: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        half = (0.1 + 0.1 * size) * pixels
        return (torch.arange(pixels, device=crops.device) - place * pixels).abs() < half

    hole = covered(height, size_y, y)[:, :, None] & covered(width, size_x, x)[:, None, :] & (cut < probability)[:, :, None]
    return torch.where(hole[..., None], crops.mean(dim=(1, 2), keepdim=True), crops)
