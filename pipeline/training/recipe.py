"""How a network is optimised: AdamW's groups, the learning rate over the steps, the moving average of weights."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Schedule = Literal["one-cycle", "flat-cosine"]

WARM_UP_START = 1e-5
FLAT_END = 0.05
"""The rate of `flat-cosine` in its first step and after its last, as shares of the peak: RTMPose's."""


@dataclass(frozen=True)
class Recipe:
    """How long and how hard."""

    steps: int
    learning_rate: float
    """The largest."""
    warm_up: int
    """Steps in which the rate rises."""
    weight_decay: float
    """On kernels and matrices; none on norms, biases and scales."""
    clip: float | None
    """Largest gradient norm; None for whatever comes."""
    average: float
    """Decay of the moving average of weights."""
    average_warm_up: float = 0.0
    """Steps over which the average gets as slow as `average` says: 1 - 1/e of it after so many. 0 for at once."""
    schedule: Schedule = "one-cycle"


def optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays what has two or more dimensions and is called `weight`: convolutions and linear layers.

    What RTMPose's attention scales its tokens with (`gamma`, `beta`, `g`, `scale`) is no such thing, whatever its shape.
    """
    decays: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (decays if name.rsplit(".", 1)[-1] == "weight" and parameter.ndim > 1 else free).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def schedule(of: torch.optim.Optimizer, recipe: Recipe) -> LRScheduler:
    """The learning rate, to be stepped once per training step."""
    if recipe.schedule == "flat-cosine":
        return LambdaLR(of, lambda step: flat_cosine(step, recipe.steps, recipe.warm_up))
    rise = recipe.warm_up if recipe.warm_up > 1 else 0  # torch divides by the steps of the rise but one
    return OneCycleLR(
        of, recipe.learning_rate, total_steps=recipe.steps, pct_start=rise / recipe.steps, cycle_momentum=False
    )


def flat_cosine(step: int, steps: int, warm_up: int) -> float:
    """The rate of a step, counted from 0, as a share of the largest: up in a line, flat, from half of the steps on down a cosine.

    As RTMPose is trained (Jiang et al. 2023, MMPose's configurations). A warm-up longer than half of the steps goes on into the
    cosine.
    """
    rise = WARM_UP_START + (1 - WARM_UP_START) * min(1.0, step / max(1, warm_up))
    half = steps // 2
    through = min(1.0, max(0.0, (step - half) / (steps - half)))
    return rise * (FLAT_END + (1 - FLAT_END) * (1 + math.cos(math.pi * through)) / 2)


def averaged(network: nn.Module, recipe: Recipe) -> AveragedModel:
    """The moving average of a network's weights and buffers, which starts as what they are after the first step."""

    def update(ours: Any, theirs: Any, count: Any) -> None:
        get_ema_multi_avg_fn(decay(int(average.n_averaged), recipe))(ours, theirs, count)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    return average


def decay(step: int, recipe: Recipe) -> float:
    """How much of the average stays in its update of that number, counted from 0: MMDetection's ExpMomentumEMA."""
    if not recipe.average_warm_up:
        return recipe.average
    return recipe.average * (1 - math.exp(-(1 + step) / recipe.average_warm_up))
