"""RTMPose (Jiang et al. 2023): CSPNeXt and a head of gated attention that classifies each keypoint's x and y (SimCC)."""

import torch
from torch import nn

from pipeline.networks.cspnext import CSPNeXt

SIZES = {"t": (0.167, 0.375), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0)}
"""Depth and width of the backbone, as fractions of the large one, by size."""

TOKEN, KEY = 256, 128
"""Lengths of a keypoint's feature vector and of its query and key, in every size."""

BINS_PER_PIXEL = 2
"""Bins of x and of y per input pixel."""


class RTMPose(nn.Module):
    """Crops (B, 3, H, W), H and W as in `input_wh`, to raw scores per bin: x (B, K, 2W) and y (B, K, 2H).

    It has no dropout and no drop path, because the published recipes train without them.
    """

    def __init__(self, size: str, keypoints: int, input_wh: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = CSPNeXt(*SIZES[size])
        self.channels = self.backbone.channels
        self.head = _Head(self.channels, keypoints, input_wh)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.outputs(self.features(crops))

    def features(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the features (B, `channels`, H/32, W/32) of the backbone."""
        return self.backbone(crops)

    def outputs(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the raw scores (B, K, 2W) and (B, K, 2H) of `features`."""
        return self.head(features)


class _Head(nn.Module):
    """Flattens one map per keypoint to a token; the tokens attend to each other; one linear layer per axis gives the scores."""

    def __init__(self, channels: int, keypoints: int, input_wh: tuple[int, int]) -> None:
        super().__init__()
        width, height = input_wh
        pixels = (width // 32) * (height // 32)
        self.final_layer = nn.Conv2d(channels, keypoints, 7, padding=3)
        self.mlp = nn.Sequential(_ScaleNorm(pixels), nn.Linear(pixels, TOKEN, bias=False))
        self.gau = _GatedAttention()
        self.cls_x = nn.Linear(TOKEN, width * BINS_PER_PIXEL, bias=False)
        self.cls_y = nn.Linear(TOKEN, height * BINS_PER_PIXEL, bias=False)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.gau(self.mlp(self.final_layer(features).flatten(2)))
        return self.cls_x(tokens), self.cls_y(tokens)


class _GatedAttention(nn.Module):
    """Gated attention unit (Hua et al. 2022) over tokens (B, K, TOKEN), with squared ReLU instead of softmax and one head."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(2, KEY))
        self.beta = nn.Parameter(torch.rand(2, KEY))
        self.o = nn.Linear(2 * TOKEN, TOKEN, bias=False)
        self.uv = nn.Linear(TOKEN, 4 * TOKEN + KEY, bias=False)
        self.ln = _ScaleNorm(TOKEN)
        self.res_scale = _Scale(TOKEN)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed = nn.functional.silu(self.uv(self.ln(tokens)))
        gate, value, base = mixed.split((2 * TOKEN, 2 * TOKEN, KEY), dim=2)
        query, key = (base.unsqueeze(2) * self.gamma + self.beta).unbind(2)
        attention = torch.relu(query @ key.transpose(1, 2) / KEY**0.5).square()
        return self.res_scale(tokens) + self.o(gate * (attention @ value))


class _ScaleNorm(nn.Module):
    """Scales vectors of length `size` to a root mean square of `g` (Nguyen and Salazar 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = size**-0.5
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (x.norm(dim=-1, keepdim=True) * self.scale).clamp(min=1e-5) * self.g


class _Scale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale
