"""Building blocks that several networks share: convolutions with batch norm, bottlenecks, the last layer of a heatmap head."""

import torch
from torch import nn


def convolution(before: int, after: int, stride: int) -> nn.Sequential:
    """Build a 3 x 3 convolution from `before` to `after` channels with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut; the output has four times `width` channels."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def bottlenecks(before: int, width: int, count: int, stride: int) -> nn.Sequential:
    """Build a layer of `count` bottlenecks, of which the first has the stride."""
    first = Bottleneck(before, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(count - 1)))


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions by He initialisation, for the ReLU that follows them (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def final_layer(channels: int, keypoints: int) -> nn.Conv2d:
    """Build the 1 x 1 convolution to one map per keypoint. It starts near zero, because most pixels of heatmaps are near zero."""
    layer = nn.Conv2d(channels, keypoints, 1)
    nn.init.normal_(layer.weight, std=0.001)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
