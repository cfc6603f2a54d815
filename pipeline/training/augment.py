"""Augmentation that teachers are blind to: colour and cut-out, per batch and on the training device. Geometry is elsewhere."""

import torch


def recolored(crops: torch.Tensor, strength: float, random: torch.Generator) -> torch.Tensor:
    """Float crops (B, H, W, 3) on 0-255 with brightness, contrast and saturation changed by up to `strength` (0 to 1) each."""
    brightness, contrast, saturation = (1 + strength * (2 * torch.rand(3, len(crops), 1, 1, generator=random) - 1)).to(
        crops.device
    )
    pixels = crops.float().flatten(1, 2) * brightness
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    grey = pixels.new_tensor([0.299, 0.587, 0.114])[:, None].expand(3, 3)
    mixing = saturation * torch.eye(3, device=crops.device) + (1 - saturation) * grey
    mixed = torch.baddbmm(mean * (1 - contrast), pixels, contrast * mixing)
    return mixed.clamp(0, 255).view(crops.shape)


def cut_out(crops: torch.Tensor, probability: float, random: torch.Generator) -> torch.Tensor:
    """Crops (B, H, W, 3) with a rectangle, a fifth to two fifths of each side, in the crop's mean colour (DeVries & Taylor 2017)."""
    count, height, width, _ = crops.shape
    draw = torch.rand(5, count, 1, generator=random).to(crops.device)
    cut, size_y, size_x, y, x = draw

    def covered(pixels: int, size: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        half = (0.1 + 0.1 * size) * pixels
        return (torch.arange(pixels, device=crops.device) - place * pixels).abs() < half

    hole = (
        covered(height, size_y, y)[:, :, None] & covered(width, size_x, x)[:, None, :] & (cut < probability)[:, :, None]
    )
    return torch.where(hole[..., None], crops.mean(dim=(1, 2), keepdim=True), crops)
