"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variants of google/tpu, 2020) under a head of heatmaps, for students that start from
ImageNet on small machines.

Lite is EfficientNet without squeeze-and-excitation and with ReLU6. Its published weights came from TensorFlow: they need its `same`
padding, its epsilon of batch norm, and crops normalised by LITE_MEAN and LITE_STD (pipeline.pose.options).
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, interpolate, relu6

EPSILON = 1e-3
STEM = 32
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first, expansion and channels of each stage."""
LEVELS = (1, 2, 4, 6)
"""The stages that end at a 4th, 8th, 16th and 32nd of the input."""
FIXED_BLOCKS = 3
"""Number of blocks at the start, those of the first two stages, that do not learn; the stem before them does not either."""
FIXED_BATCH = 16
"""Crops that go through what does not learn at a time, while the rest learns: its features are the largest, and stay in caches so.
With less than 16, torch runs small convolutions on one thread by a slower method."""
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
"""Beginnings of names in a published file that belong to what follows the backbone."""


class EfficientNetPose(nn.Module):
    """A network from crops (B, 3, H, W), H and W multiples of 32, to logits (B, K, H/4, W/4).

    The backbone's four levels are joined top-down by addition, as in pipeline.networks.pyramid.
    """

    def __init__(self, keypoints: int, width: int) -> None:
        super().__init__()
        self.channels = width
        self.backbone = EfficientNetLite0()
        widths = [STAGES[stage][-1] for stage in LEVELS]
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.merges = nn.ModuleList(_merge(width) for _ in widths[:-1])
        self.head = nn.Conv2d(width, keypoints, 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.outputs(self.features(crops))

    def features(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the joined features, (B, `channels`, H/4, W/4)."""
        levels = self.backbone(crops)
        x = self.laterals[-1](levels[-1])
        finer = zip(reversed(levels[:-1]), reversed(self.laterals[:-1]), reversed(self.merges), strict=True)
        for level, lateral, merge in finer:
            x = merge(interpolate(x, scale_factor=2.0, mode="nearest") + lateral(level))
        return x

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of `features`."""
        return self.head(features)


class EfficientNetLite0(nn.Module):
    """A backbone from images (B, 3, H, W), H and W multiples of 32, to features (B, 24, H/4, W/4), and 40, 112 and 320 channels at an
    8th, a 16th and a 32nd.

    Three things make a step on CPUs several times as fast as plain fine-tuning: norms keep the published statistics in training too,
    so that each is folded into its convolution; depthwise kernels do not learn (6 % of the parameters, most of the backward pass);
    nor do the stem and the first two stages, whose features are the largest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, STEM, 3, stride=2, bias=False)
        self.bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        self.blocks = nn.ModuleList()
        before, ends = STEM, []
        for count, kernel, stride, expansion, channels in STAGES:
            for n in range(count):
                self.blocks.append(_Block(before, channels, kernel, stride if n == 0 else 1, expansion))
                before = channels
            ends.append(len(self.blocks) - 1)
        self.ends = [ends[stage] for stage in LEVELS]
        for fixed in (self.conv_stem, self.bn0, *self.blocks[:FIXED_BLOCKS]):
            fixed.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        parts = images.split(FIXED_BATCH) if self.training else (images,)
        with torch.no_grad():
            levels = [torch.cat(level) for level in zip(*map(self._fixed, parts), strict=True)]
        levels += self._levels(levels[-1], range(FIXED_BLOCKS, len(self.blocks)))
        return levels

    def _fixed(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels that do not learn."""
        return self._levels(_relu6(_normed(images, self.conv_stem, self.bn0), self.training), range(FIXED_BLOCKS))

    def _levels(self, x: torch.Tensor, blocks: range) -> list[torch.Tensor]:
        levels = []
        for n in blocks:
            x = self.blocks[n](x)
            if n in self.ends:
                levels.append(x)
        return levels


class _Block(nn.Module):
    """Inverted bottleneck (Sandler et al. 2018), around a shortcut where shapes allow; named as in the published files."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(inner, eps=EPSILON)
        self.depthwise_conv = nn.Conv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self.bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self.project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after, eps=EPSILON)
        self.shortcut = stride == 1 and before == after
        for fixed in (self.depthwise_conv.weight, self.bn1.weight):
            fixed.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = _relu6(_normed(x, self.expand_conv, self.bn0), self.training) if self.expands else x
        y = _relu6(_normed(y, self.depthwise_conv, self.bn1), self.training)
        y = _normed(y, self.project_conv, self.bn2)
        return x + y if self.shortcut else y


def _normed(x: torch.Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Compute the convolution and its norm in one, padded as TensorFlow's `same`: of an odd sum the greater part is below and right.

    Where it strides, over maps of even sizes, a row and a column of zeros before the kernel does that without a copy of the map.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    around, stride = conv.kernel_size[0] // 2, conv.stride[0]
    if stride == 2:
        weight = _with_zeros_before(_with_zeros_before(weight, 2), 3)
    if conv.groups > 1:
        return _FixedDepthwise.apply(x, weight.detach(), bias, around, stride)
    return conv2d(x, weight, bias, stride, around)


def _with_zeros_before(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the weight with a row or column of zeros before it. ONNX Runtime takes a `Pad` of a weight for one of the map, and breaks."""
    return torch.cat([torch.zeros_like(weight.narrow(dim, 0, 1)), weight], dim)


def _relu6(x: torch.Tensor, in_place: bool) -> torch.Tensor:
    """Return ReLU6 of x; not in place, an export to ONNX takes half the time."""
    return _Relu6.apply(x) if in_place else relu6(x)


class _Relu6(torch.autograd.Function):
    """ReLU6 in place. It keeps its output alone, where torch's own copies its input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x)
        y = x.clamp_(0, 6)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, y, 0, 6)


class _FixedDepthwise(torch.autograd.Function):
    """A depthwise convolution whose kernel does not learn. Its backward pass is one too, several times as fast as torch's on CPUs."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, around: int, stride: int
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.around, ctx.stride = around, stride
        return conv2d(x, weight, bias, stride, around, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        of_bias = gradient.float().sum((0, 2, 3)).to(weight.dtype) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[0]:
            return None, None, of_bias, None, None
        if ctx.stride == 2:
            n, c, height, width = gradient.shape
            apart = gradient.new_zeros(n, 2 * height - 1, 2 * width - 1, c).permute(0, 3, 1, 2)  # channels last
            apart[:, :, ::2, ::2] = gradient
            gradient = apart
        margin = weight.shape[2] - 1 - ctx.around
        of_x = conv2d(gradient, weight.flip(2, 3).to(gradient.dtype), None, 1, margin, 1, len(weight))
        return of_x, None, of_bias, None, None


def published_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of efficientnet_lite_pytorch's file under the backbone's names, without its classifier."""
    return {
        re.sub(r"(^|\.)_", r"\1", name): value for name, value in weights.items() if not name.startswith(CLASSIFIER)
    }


def _merge(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
