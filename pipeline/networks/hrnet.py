"""HRNet (Sun et al. 2019): branches at several resolutions that exchange features, and heatmaps from the finest branch."""

import torch
from torch import nn

from pipeline.networks.blocks import bottlenecks, convolution, final_layer, initialise

MODULES = {2: 1, 3: 4, 4: 3}
"""Number of exchange modules of a stage, by its number of branches."""

BLOCKS = 4
"""Number of residual blocks per branch in an exchange module."""


class HRNet(nn.Module):
    """Crops (B, 3, H, W), H and W multiples of 32, to heatmaps (B, K, H/4, W/4).

    `width` is the number of channels of the finest branch; each coarser one has twice the channels at half the size.
    """

    def __init__(self, width: int, keypoints: int) -> None:
        super().__init__()
        self.backbone = _Backbone(width)
        self.head = _Head(width, keypoints)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(crops))


class _Head(nn.Module):
    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.final_layer = final_layer(channels, keypoints)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.final_layer(features)


class _Backbone(nn.Module):
    """Crops (B, 3, H, W) to the finest branch's features (B, width, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**branch for branch in range(4)]
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = bottlenecks(64, 64, 4, 1)
        self.transition1 = nn.ModuleList([convolution(256, width, 1), _coarser(256, widths[1])])
        self.stage2 = _stage(widths[:2])
        # A branch that exists already is passed on; the checkpoints' names count it all the same.
        self.transition2 = nn.ModuleList([nn.Identity(), nn.Identity(), _coarser(widths[1], widths[2])])
        self.stage3 = _stage(widths[:3])
        self.transition3 = nn.ModuleList([*(nn.Identity() for _ in range(3)), _coarser(widths[2], widths[3])])
        self.stage4 = _stage(widths, only_finest=True)
        initialise(self)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(crops)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3([*branches, self.transition2[2](branches[-1])])
        branches = self.stage4([*branches, self.transition3[3](branches[-1])])
        return branches[0]


class _Exchange(nn.Module):
    """Residual blocks on every branch; then each branch becomes the sum of all branches, resized to its own size and channels."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(_Residual(width) for _ in range(BLOCKS))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            _Sum(_fuse(widths, source, target) for source in range(len(widths))) for target in range(outputs)
        )

    def forward(self, branches: list[torch.Tensor]) -> list[torch.Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, branches, strict=True)]
        return [fuse(features) for fuse in self.fuse_layers]


class _Sum(nn.ModuleList):
    """One layer per branch; their outputs are added, and a ReLU follows."""

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        parts = [layer(x) for layer, x in zip(self, features, strict=True)]
        return torch.relu(sum(parts[1:], start=parts[0]))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


def _stage(widths: list[int], only_finest: bool = False) -> nn.Sequential:
    """Build the exchange modules of a stage; with `only_finest` the last one outputs the finest branch alone."""
    count, branches = MODULES[len(widths)], len(widths)
    return nn.Sequential(
        *(_Exchange(widths, 1 if only_finest and module == count - 1 else branches) for module in range(count))
    )


def _fuse(widths: list[int], source: int, target: int) -> nn.Module:
    """Build the layer that brings the branch `source` to the size and channels of the branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(widths[source], widths[target], 1, bias=False),
            nn.BatchNorm2d(widths[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    steps = [convolution(widths[source], widths[source], 2) for _ in range(target - source - 1)]
    last = nn.Sequential(
        nn.Conv2d(widths[source], widths[target], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(widths[target]),
    )
    return nn.Sequential(*steps, last)


def _coarser(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(convolution(before, after, 2))
