"""A student in the form that rtmlib's `RTMPose` class runs unchanged: its crops in, bins out. Writing the file is in export.py.

What that class does (rtmlib 0.0.16). It crops a BGR picture under the `classic` affine with padding 1.25, normalises the
channels as they lie, blue first, with MEAN and STD, which are meant for red first; takes the largest bin of x and of y,
halves both for a position in the crop, and calls the mean of the two largest values the score. As a NetworkSpec that is
colour bgr, classic, simcc: the form is a network like any other, which `pipeline predict` and `teach` can run too.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.frames import Regions, compose, diagonal, invert
from pipeline.spec import NetworkSpec

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PADDING = 1.25
BINS_PER_PIXEL = 2

TIMES = 4
"""How many times as large as a `udp` student's own crop rtmlib's is, from which it is made. Measured with rtmlib on 115 people of COCO
and a 256 x 192 student: keypoints of confidence 0.2 and more within half a pixel of the picture of our own are 69 % at 1, 90 % at 2,
95 % at 3, 97.5 % at 4, which costs 23 ms a person on one core against 3."""

TOLERANCE = 1e-2
"""For pipeline.networks.export: a bell's flank turns a tenth of a bin between two runtimes into so much."""

SIGMA = 6.0
"""Of the bell around a decoded keypoint, in bins: as wide as the labels that SimCC networks learn from (RTMPose: 4.9, 5.66)."""

RADIUS = 2
FLOOR = math.log(1e-3)


def rtmlib_spec(spec: NetworkSpec) -> NetworkSpec:
    """What the form of that student wants and says; UserError for a student that rtmlib cannot feed.

    A `classic` student's crop is rtmlib's own. A `udp` student's is another by up to a pixel, and its pixels lie between those of
    rtmlib's: so rtmlib is asked for a crop some whole number of times as large, which also makes the bins finer.
    """
    if spec.padding != PADDING:
        raise UserError(
            f"rtmlib pads every box by {PADDING}, the student by {spec.padding}: distill it with that padding"
        )
    if spec.kind == "heatmap":
        raise UserError(
            "for rtmlib a student says heatmap_logits or simcc, found kind heatmap: export it without `--for`"
        )
    width, height = spec.input_wh
    times = TIMES if spec.affine == "udp" else 1
    return replace(
        spec,
        input_wh=(times * width, times * height),
        color="bgr",
        mean=MEAN,
        std=STD,
        affine="classic",
        kind="simcc",
        outputs=(),
        flip=False,
    )


def theirs_from_ours(spec: NetworkSpec) -> np.ndarray:
    """Affine (2, 3) from the student's input pixels to those of rtmlib's crop of the same box; it does not rotate.

    Both crops show the same padded part of the picture, `side` wide, whose left edge is 0 in either. So a point t of the way along
    it is at t W' in rtmlib's `classic` crop of W' pixels, and at t (W - 1) in a `udp` crop of W: x' = x W' / (W - 1).
    It is taken from pipeline.frames, from one region, because it is the same for all.
    """
    one = Regions(np.zeros((1, 2)), np.ones((1, 2)), np.zeros(1))
    return compose(rtmlib_spec(spec).input_from_image(one), invert(spec.input_from_image(one)))[0]


def bins_from_target(spec: NetworkSpec, target_wh: tuple[int, int]) -> np.ndarray:
    """Affine (2, 3) from the student's output pixels, or bins, to the form's bins: to its crop, to rtmlib's, times two.

    rtmlib's own way back is the inverse of its crop's, so no half pixel is left: a bin is two times a position with 0 at the centre
    of the first pixel.
    """
    theirs = rtmlib_spec(spec)
    ours = compose(theirs_from_ours(spec), invert(spec.target_from_input(target_wh)))
    return compose(theirs.target_from_input(_bins(theirs)), ours)


class RtmlibForm(nn.Module):
    """rtmlib's crops (B, 3, H', W') to bins of x (B, K, 2W') and y (B, K, 2H'), whose largest values are our confidence."""

    def __init__(self, network: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.crop = _OwnCrop(spec)
        self.network = network
        self.bins: nn.Module = _BinsOfMaps(spec) if spec.kind == "heatmap_logits" else _BinsOfBins(spec)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.bins(self.network(self.crop(crops)))


class _OwnCrop(nn.Module):
    """rtmlib's normalised crop to what the student has learned on: its own frame, channels and statistics."""

    across: torch.Tensor
    down: torch.Tensor
    gain: torch.Tensor
    offset: torch.Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        theirs = rtmlib_spec(spec)
        scale, shift = diagonal(theirs_from_ours(spec))
        self.resampled = spec.affine == "udp"
        for name, axis in (("across", 0), ("down", 1)):
            at = np.arange(spec.input_wh[axis]) * scale[axis] + shift[axis]
            self.register_buffer(name, torch.from_numpy(_cubic(at, theirs.input_wh[axis])).float())
        self.order = [0, 1, 2] if spec.color == "bgr" else [2, 1, 0]
        mean, std = np.array(spec.mean), np.array(spec.std)
        gain = np.array(STD)[self.order] / std
        offset = (np.array(MEAN)[self.order] - mean) / std
        self.register_buffer("gain", torch.from_numpy(gain).float().reshape(3, 1, 1))
        self.register_buffer("offset", torch.from_numpy(offset).float().reshape(3, 1, 1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        if self.resampled:
            crops = self.down @ (crops @ self.across.T)
        return crops[:, self.order] * self.gain + self.offset


class _BinsOfMaps(nn.Module):
    """Logits (B, K, h, w) to a bell per axis around the keypoint that pipeline.targets.decode finds, as high as its confidence."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.bins = _bins(rtmlib_spec(spec))

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
    """Bins of the student's crop as bins of rtmlib's: as they are, or for a `udp` student read between two of them."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.bins = _bins(rtmlib_spec(spec))

    def forward(self, rows: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = rows
        if self.spec.affine == "classic":
            return x, y
        scale, shift = diagonal(invert(bins_from_target(self.spec, (x.shape[2], y.shape[2]))))
        axes = zip(rows, scale, shift, self.bins, strict=True)
        read = [row @ _linear(np.arange(bins) * s + t, row.shape[2]).T.to(row) for row, s, t, bins in axes]
        return read[0], read[1]


def _bins(theirs: NetworkSpec) -> tuple[int, int]:
    """How many bins x and y have."""
    return BINS_PER_PIXEL * theirs.input_wh[0], BINS_PER_PIXEL * theirs.input_wh[1]


def _mass_at(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """pipeline.targets.decode.mass_at_peak of the maps' softmax, (B, K)."""
    height, width = logits.shape[2:]
    near_x = (torch.arange(width, device=logits.device) - x.unsqueeze(2)).abs() <= RADIUS
    near_y = (torch.arange(height, device=logits.device) - y.unsqueeze(2)).abs() <= RADIUS
    near = near_y.unsqueeze(3) & near_x.unsqueeze(2)
    return (logits.flatten(2).softmax(2) * near.flatten(2).to(logits)).sum(2)


def _newton(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The step in x and y, each (B, K), that pipeline.targets.decode takes from the peak: logits are the logarithm, up to a constant."""
    width = logits.shape[3]
    padded = nn.functional.pad(logits, (1, 1, 1, 1), mode="replicate").flatten(2)
    steps = [dy * (width + 2) + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    centre = (y + 1) * (width + 2) + x + 1
    around = padded.gather(2, torch.stack([centre + step for step in steps], 2))
    above_left, up, _, left, middle, right, _, down, below_right = (
        (around - around[..., 4:5]).clamp(min=FLOOR).unbind(2)
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
    """(B, K, bins): a Gaussian around `at` (B, K) whose largest value is 1; around the first or last bin where that lies outside."""
    place = at.clamp(0, bins - 1).unsqueeze(2)
    bell = torch.exp(-((torch.arange(bins, device=at.device) - place) ** 2) / (2 * SIGMA**2))
    return bell / bell.amax(2, keepdim=True)


def _cubic(at: np.ndarray, count: int) -> np.ndarray:
    """Weights (n, count) that read `count` samples at positions (n,) by cubic convolution (Keys 1981, a = -0.5), the last one's beyond."""
    first = np.floor(at).astype(int)
    weights = np.zeros((len(at), count))
    for tap in (-1, 0, 1, 2):
        t = np.abs(first + tap - at)
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        weights[np.arange(len(at)), (first + tap).clip(0, count - 1)] += np.where(t <= 1, near, far)
    return weights


def _linear(at: np.ndarray, count: int) -> torch.Tensor:
    """The same by linear interpolation."""
    left = np.floor(at.clip(0, count - 1)).astype(int).clip(0, count - 2)
    share = at.clip(0, count - 1) - left
    weights, row = np.zeros((len(at), count)), np.arange(len(at))
    weights[row, left], weights[row, left + 1] = 1 - share, share
    return torch.from_numpy(weights)
