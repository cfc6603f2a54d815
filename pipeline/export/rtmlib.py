"""Converts a student to the form that rtmlib's `RTMPose` class runs unchanged: its input is rtmlib's crops, its output is bins.

This is what that class does (rtmlib 0.0.16). It crops a BGR image under the `classic` affine with padding 1.25 and normalises the
channels in their order, blue first, with RTMLIB_MEAN and RTMLIB_STD, which are meant for red first. It takes the largest bin of x
and of y, halves both to get a position in the crop, and uses the mean of the two largest values as the score. A NetworkSpec
describes that as colour bgr, affine classic, kind simcc, so `pipeline predict` and `teach` can run the form as well.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.pose.geometry import Regions, compose, diagonal, invert
from pipeline.pose.spec import NetworkSpec

RTMLIB_MEAN, RTMLIB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RTMLIB_PADDING = 1.25
RTMLIB_BINS_PER_PIXEL = 2
"""Constants of rtmlib's `RTMPose` class: the statistics of its input, the padding of the box, its bins per pixel of the crop."""

UDP_CROP_SCALE = 4
"""Size of rtmlib's crop relative to the crop of a `udp` student, which is resampled from it. Measured with rtmlib on 115 people of
COCO and a 256 x 192 student: of the keypoints of confidence 0.2 and more, 69 % are within half a pixel of the image of the student's
own at 1, 90 % at 2, 95 % at 3, and 97.5 % at 4, which takes 23 ms per person on one core against 3 ms at 1."""

RTMLIB_TOLERANCE = 1e-2
"""Tolerance for pipeline.export.onnx_export. On the flank of a bell a tenth of a bin between two runtimes makes this difference."""

BELL_SIGMA = 6.0
"""Standard deviation, in bins, of the bell around a decoded keypoint: as wide as the labels of SimCC networks (RTMPose: 4.9, 5.66)."""

RADIUS = 2
"""Pixels around the peak whose probability is the confidence, as in pipeline.pose.decode."""

MIN_LOG_RATIO = math.log(1e-3)
"""Smallest logarithm of a pixel's value relative to the peak's that enters a Newton step, as in pipeline.pose.decode."""


def rtmlib_spec(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec of a student's rtmlib form; UserError for a student whose input rtmlib cannot produce.

    The crop of a `classic` student is the same as rtmlib's. The crop of a `udp` student differs from it by up to a pixel, and its
    pixels lie between those of rtmlib's. rtmlib's crop is then UDP_CROP_SCALE times as large, which also makes the bins finer.
    """
    if spec.padding != RTMLIB_PADDING:
        raise UserError(
            f"rtmlib pads every box by {RTMLIB_PADDING}, the student by {spec.padding}: distill it with that padding"
        )
    if spec.kind == "heatmap":
        raise UserError(
            "rtmlib's form needs a student of kind heatmap_logits or simcc, found heatmap: export it without `--for`"
        )
    width, height = spec.input_wh
    scale = UDP_CROP_SCALE if spec.affine == "udp" else 1
    return replace(
        spec,
        input_wh=(scale * width, scale * height),
        color="bgr",
        mean=RTMLIB_MEAN,
        std=RTMLIB_STD,
        affine="classic",
        kind="simcc",
        outputs=(),
        flip=False,
    )


def rtmlib_from_student(spec: NetworkSpec) -> np.ndarray:
    """Return the affine (2, 3) from the student's input pixels to those of rtmlib's crop of the same box, without rotation.

    Both crops show the same padded region of the image, and its left edge is 0 in both. A point at the share t of the region's
    width is at t W' in rtmlib's `classic` crop of W' pixels, and at t (W - 1) in a `udp` crop of W pixels: x' = x W' / (W - 1).
    The affine is the same for all regions; it is computed by pipeline.pose.geometry from one of them.
    """
    region = Regions(np.zeros((1, 2)), np.ones((1, 2)), np.zeros(1))
    return compose(rtmlib_spec(spec).input_from_image(region), invert(spec.input_from_image(region)))[0]


def bins_from_target(spec: NetworkSpec, target_wh: tuple[int, int]) -> np.ndarray:
    """Return the affine (2, 3) from the student's output pixels, or bins, to the form's bins: by way of the two crops, times two.

    rtmlib's affine from crop to image is the inverse of the affine of its crop, so no half pixel remains: a bin is two times a
    position, with 0 at the centre of the first pixel.
    """
    form = rtmlib_spec(spec)
    crop_from_target = compose(rtmlib_from_student(spec), invert(spec.target_from_input(target_wh)))
    return compose(form.target_from_input(_bin_counts(form)), crop_from_target)


class RtmlibForm(nn.Module):
    """The student's rtmlib form: crops (B, 3, H', W') to bins of x (B, K, 2W') and of y (B, K, 2H').

    The largest values of the bins are the confidence that `pipeline predict` gives.
    """

    def __init__(self, network: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.crop = _StudentCrop(spec)
        self.network = network
        self.bins: nn.Module = _BinsOfMaps(spec) if spec.kind == "heatmap_logits" else _BinsOfBins(spec)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.bins(self.network(self.crop(crops)))


class _StudentCrop(nn.Module):
    """Converts rtmlib's normalised crop to the student's frame, channel order and statistics."""

    across: torch.Tensor
    down: torch.Tensor
    gain: torch.Tensor
    offset: torch.Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        form = rtmlib_spec(spec)
        scale, shift = diagonal(rtmlib_from_student(spec))
        self.resampled = spec.affine == "udp"
        for name, axis in (("across", 0), ("down", 1)):
            at = np.arange(spec.input_wh[axis]) * scale[axis] + shift[axis]
            self.register_buffer(name, torch.from_numpy(_cubic(at, form.input_wh[axis])).float())
        self.order = [0, 1, 2] if spec.color == "bgr" else [2, 1, 0]
        mean, std = np.array(spec.mean), np.array(spec.std)
        gain = np.array(RTMLIB_STD)[self.order] / std
        offset = (np.array(RTMLIB_MEAN)[self.order] - mean) / std
        self.register_buffer("gain", torch.from_numpy(gain).float().reshape(3, 1, 1))
        self.register_buffer("offset", torch.from_numpy(offset).float().reshape(3, 1, 1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        if self.resampled:
            crops = self.down @ (crops @ self.across.T)
        return crops[:, self.order] * self.gain + self.offset


class _BinsOfMaps(nn.Module):
    """Converts logits (B, K, h, w) to a bell per axis around the keypoint that pipeline.pose.decode gives, as high as its confidence."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.bins = _bin_counts(rtmlib_spec(spec))

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = logits.shape[2:]
        peak = logits.flatten(2).argmax(2)
        y, x = torch.div(peak, width, rounding_mode="floor"), peak % width
        score = _mass_at(logits, x, y)
        scale, shift = diagonal(bins_from_target(self.spec, (width, height)))
        moved = zip((x, y), _newton(logits, x, y), scale.tolist(), shift.tolist(), self.bins, strict=True)
        rows = [_bell((at + offset) * s + t, bins) * score.unsqueeze(2) for at, offset, s, t, bins in moved]
        return rows[0], rows[1]


class _BinsOfBins(nn.Module):
    """Converts bins of the student's crop to bins of rtmlib's: unchanged, or for a `udp` student interpolated linearly."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.bins = _bin_counts(rtmlib_spec(spec))

    def forward(self, rows: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = rows
        if self.spec.affine == "classic":
            return x, y
        scale, shift = diagonal(invert(bins_from_target(self.spec, (x.shape[2], y.shape[2]))))
        axes = zip(rows, scale, shift, self.bins, strict=True)
        read = [row @ _linear(np.arange(bins) * s + t, row.shape[2]).T.to(row) for row, s, t, bins in axes]
        return read[0], read[1]


def _bin_counts(form: NetworkSpec) -> tuple[int, int]:
    """Return the number of bins of x and of y."""
    return RTMLIB_BINS_PER_PIXEL * form.input_wh[0], RTMLIB_BINS_PER_PIXEL * form.input_wh[1]


def _mass_at(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the probability (B, K) within RADIUS pixels of the peaks x and y: pipeline.pose.decode.mass_at_peak of the softmax."""
    height, width = logits.shape[2:]
    near_x = (torch.arange(width, device=logits.device) - x.unsqueeze(2)).abs() <= RADIUS
    near_y = (torch.arange(height, device=logits.device) - y.unsqueeze(2)).abs() <= RADIUS
    near = near_y.unsqueeze(3) & near_x.unsqueeze(2)
    return (logits.flatten(2).softmax(2) * near.flatten(2).to(logits)).sum(2)


def _newton(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the Newton step in x and in y, each (B, K), that pipeline.pose.decode takes from the peak.

    The logits serve as the logarithm of the map, from which they differ by a constant.
    """
    width = logits.shape[3]
    padded = nn.functional.pad(logits, (1, 1, 1, 1), mode="replicate").flatten(2)
    steps = [dy * (width + 2) + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    centre = (y + 1) * (width + 2) + x + 1
    around = padded.gather(2, torch.stack([centre + step for step in steps], 2))
    above_left, up, _, left, middle, right, _, down, below_right = (
        (around - around[..., 4:5]).clamp(min=MIN_LOG_RATIO).unbind(2)
    )
    gx, gy = (right - left) / 2, (down - up) / 2
    xx, yy = right - 2 * middle + left, down - 2 * middle + up
    xy = (below_right - right - down + 2 * middle - left - up + above_left) / 2
    determinant = xx * yy - xy * xy
    solvable = (determinant > 1e-9) & (xx < 0)
    divisor = torch.where(solvable, determinant, torch.ones_like(determinant))
    step_x, step_y = (xy * gy - yy * gx) / divisor, (xy * gx - xx * gy) / divisor
    zero = torch.zeros_like(step_x)
    return torch.where(solvable, step_x, zero).clamp(-1, 1), torch.where(solvable, step_y, zero).clamp(-1, 1)


def _bell(at: torch.Tensor, bins: int) -> torch.Tensor:
    """Return a Gaussian (B, K, bins) of peak 1 around the bins `at` (B, K), or around the nearest bin where those lie outside."""
    centre = at.clamp(0, bins - 1).unsqueeze(2)
    bell = torch.exp(-((torch.arange(bins, device=at.device) - centre) ** 2) / (2 * BELL_SIGMA**2))
    return bell / bell.amax(2, keepdim=True)


def _cubic(at: np.ndarray, count: int) -> np.ndarray:
    """Return the weights (n, count) that interpolate `count` samples at positions (n,) by cubic convolution (Keys 1981, a = -0.5).

    Positions outside read the nearest sample.
    """
    first = np.floor(at).astype(int)
    weights = np.zeros((len(at), count))
    for tap in (-1, 0, 1, 2):
        t = np.abs(first + tap - at)
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        weights[np.arange(len(at)), (first + tap).clip(0, count - 1)] += np.where(t <= 1, near, far)
    return weights


def _linear(at: np.ndarray, count: int) -> torch.Tensor:
    """Return the weights of a linear interpolation, for the same arguments as `_cubic`."""
    left = np.floor(at.clip(0, count - 1)).astype(int).clip(0, count - 2)
    share = at.clip(0, count - 1) - left
    weights, row = np.zeros((len(at), count)), np.arange(len(at))
    weights[row, left], weights[row, left + 1] = 1 - share, share
    return torch.from_numpy(weights)
