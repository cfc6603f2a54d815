"""ResNet with three deconvolutions (Xiao et al. 2018, "Simple Baselines"): the classic heatmap network."""

import torch
from torch import nn

from pipeline.networks.blocks import bottlenecks, final_layer, initialise

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks per layer, by the depth in the network's name."""

DECONVOLUTION = 256
"""Channels of the deconvolutions."""


class PoseResNet(nn.Module):
    """Crops (B, 3, H, W), H and W multiples of 32, to heatmaps (B, K, H/4, W/4)."""

    def __init__(self, depth: int, keypoints: int) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        self.head = _DeconvolutionHead(4 * 512, keypoints)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(crops))


class ResNet(nn.Module):
    """Crops (B, 3, H, W) to features (B, 2048, H/32, W/32). Strides are on the 3 x 3 convolutions."""

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
