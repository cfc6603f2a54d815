"""A small residual pyramid that gives heatmaps at a quarter of the input: the sample's student and, wider, its teachers."""

import torch
from torch import nn

from pipeline.networks.blocks import convolution


class Pyramid(nn.Module):
    """Crops (B, 3, H, W), H and W multiples of 32, to logits (B, K, H/4, W/4).

    It has four levels of plain 3 x 3 residual blocks, each half the size of the one before, joined top-down by addition (Lin et al.
    2017, feature pyramid networks). The convolutions are plain, because at equal parameters depthwise ones are slower on CPUs.
    """

    def __init__(self, keypoints: int, width: int, depth: int = 1) -> None:
        super().__init__()
        self.channels = width
        widths = [width, width * 3 // 2, width * 2, width * 2]
        self.stem = nn.Sequential(convolution(3, width // 2, 2), convolution(width // 2, width, 2))
        self.levels = nn.ModuleList()
        before = width
        for level, channels in enumerate(widths):
            down = [] if level == 0 else [convolution(before, channels, 2)]
            self.levels.append(nn.Sequential(*down, *(_Residual(channels) for _ in range(depth))))
            before = channels
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.merges = nn.ModuleList(convolution(width, width, 1) for _ in widths[:-1])
        self.head = nn.Conv2d(width, keypoints, 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.outputs(self.features(crops))

    def features(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the features (B, `channels`, H/4, W/4) of crops."""
        features = []
        x = self.stem(crops)
        for level in self.levels:
            x = level(x)
            features.append(x)
        x = self.laterals[-1](features[-1])
        finer = zip(reversed(features[:-1]), reversed(self.laterals[:-1]), reversed(self.merges), strict=True)
        for feature, lateral, merge in finer:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = merge(x + lateral(feature))
        return x

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K, H/4, W/4) of `features`."""
        return self.head(features)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))
