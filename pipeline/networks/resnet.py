"""ResNet with three deconvolutions (Xiao et al. 2018, "Simple Baselines"): the classic heatmap network; HRNet borrows its blocks."""

import torch
from torch import nn

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
DECONVOLUTION = 256


class PoseResNet(nn.Module):
    """Crops (B, 3, H, W), H and W multiples of 32, to heatmaps (B, K, H/4, W/4)."""

    def __init__(self, depth: int, keypoints: int) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        self.head = _DeconvolutionHead(4 * 512, keypoints)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(crops))


class ResNet(nn.Module):
    """Pictures (B, 3, H, W) to features (B, 2048, H/32, W/32); strides are on the 3 x 3 convolutions."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks = DEPTHS[depth]
        self.layer1 = bottlenecks(64, 64, blocks[0], 1)
        self.layer2 = bottlenecks(256, 128, blocks[1], 2)
        self.layer3 = bottlenecks(512, 256, blocks[2], 2)
        self.layer4 = bottlenecks(1024, 512, blocks[3], 2)
        initialise(self)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(crops))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution around a shortcut; four times `width` channels come out."""

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
    """A layer of that many bottlenecks, the first with the stride."""
    first = Bottleneck(before, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(count - 1)))


def initialise(network: nn.Module) -> None:
    """He initialisation of all convolutions, for the ReLU that follows them (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def final_layer(channels: int, keypoints: int) -> nn.Conv2d:
    """The 1 x 1 convolution to one map per keypoint; starts near zero, as heatmaps are mostly zero."""
    layer = nn.Conv2d(channels, keypoints, 1)
    nn.init.normal_(layer.weight, std=0.001)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class _DeconvolutionHead(nn.Module):
    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (channels, DECONVOLUTION, DECONVOLUTION):
            deconvolution = nn.ConvTranspose2d(before, DECONVOLUTION, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(deconvolution.weight, std=0.001)  # as published
            layers += [deconvolution, nn.BatchNorm2d(DECONVOLUTION), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = final_layer(DECONVOLUTION, keypoints)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.final_layer(self.deconv_layers(features))
