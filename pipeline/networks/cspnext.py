"""The CSPNeXt backbone (RTMDet, Lyu et al. 2022): large depthwise kernels in cross-stage-partial blocks, without a head."""

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512, 1024)
DEPTHS = (3, 6, 6, 3)
"""Channels after the stem and after each stage, and blocks per stage, of the large size. Other sizes are fractions of these."""


class CSPNeXt(nn.Module):
    """Crops (B, 3, H, W), H and W multiples of 32, to features (B, `channels`, H/32, W/32).

    Modules carry the names of MMDetection's checkpoints: `stem`, `stage1` to `stage4`.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        widths = [int(channels * width) for channels in WIDTHS]
        self.channels = widths[-1]
        half = widths[0] // 2
        self.stem = nn.Sequential(
            Convolution(3, half, 3, stride=2), Convolution(half, half, 3), Convolution(half, widths[0], 3)
        )
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            _stage(widths[stage], widths[stage + 1], max(round(DEPTHS[stage] * depth), 1), last=stage == 3)
            for stage in range(4)
        )

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.stage4(self.stage3(self.stage2(self.stage1(self.stem(crops)))))


def _stage(before: int, after: int, blocks: int, last: bool) -> nn.Sequential:
    """Build a stage that halves the size. The last one pools over wide windows first, and its blocks have no shortcuts."""
    pooling = [_PyramidPooling(after)] if last else []
    return nn.Sequential(
        Convolution(before, after, 3, stride=2), *pooling, _CrossStage(after, blocks, residual=not last)
    )


class Convolution(nn.Module):
    """A convolution that keeps the size, or divides it by `stride`, with batch norm and SiLU."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.activate = nn.SiLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activate(self.bn(self.conv(x)))


class _Separable(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise_conv = Convolution(channels, channels, kernel, groups=channels)
        self.pointwise_conv = Convolution(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class _Block(nn.Module):
    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, channels, 3)
        self.conv2 = _Separable(channels, 5)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.residual else y


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * nn.functional.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class _CrossStage(nn.Module):
    """Half of the channels pass through the blocks and half bypass them; channel attention over both follows."""

    def __init__(self, channels: int, blocks: int, residual: bool) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv = Convolution(channels, half, 1)
        self.short_conv = Convolution(channels, half, 1)
        self.final_conv = Convolution(2 * half, channels, 1)
        self.blocks = nn.Sequential(*(_Block(half, residual) for _ in range(blocks)))
        self.attention = _ChannelAttention(2 * half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), dim=1)
        return self.final_conv(self.attention(both))


class _PyramidPooling(nn.Module):
    """Concatenates the features with their maxima over 5, 9 and 13 pixels (He et al. 2014)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, channels // 2, 1)
        self.poolings = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.conv2 = Convolution(channels // 2 * 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat((x, *(pooling(x) for pooling in self.poolings)), dim=1))
