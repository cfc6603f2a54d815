"""How a network is optimised: AdamW's parameter groups, the learning rate over the steps, the moving average of the weights."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.pose.options import Schedule

WARM_UP_START = 1e-5
FLAT_END = 0.05
"""Learning rate of `flat-cosine` in its first step and after its last one, as shares of the peak; RTMPose's values."""


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of the optimisation."""

    steps: int
    learning_rate: float
    """Peak of the learning rate."""
    warm_up: int
    """Number of steps in which the learning rate rises."""
    weight_decay: float
    """Weight decay of kernels and matrices; norms, biases and scales have none."""
    clip: float | None
    """Largest norm of the gradient; None for no limit."""
    average: float
    """Decay of the moving average of the weights."""
    average_warm_up: float = 0.0
    """Number of steps after which the decay has reached 1 - 1/e of `average`; 0 for `average` from the start."""
    schedule: Schedule = "one-cycle"


def build_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Build AdamW with weight decay for parameters named `weight` of two or more dimensions: convolutions and linear layers.

    The vectors and matrices that RTMPose's attention scales its tokens with (`gamma`, `beta`, `g`, `scale`) have no weight decay.
    """
    decaying: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (decaying if name.rsplit(".", 1)[-1] == "weight" and parameter.ndim > 1 else free).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> LRScheduler:
    """Build the schedule of the learning rate, to be stepped once per training step."""
    if recipe.schedule == "flat-cosine":
        return LambdaLR(optimizer, lambda step: flat_cosine(step, recipe.steps, recipe.warm_up))
    rise = recipe.warm_up if recipe.warm_up > 1 else 0  # torch divides by the steps of the rise but one
    return OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=rise / recipe.steps, cycle_momentum=False
    )


def flat_cosine(step: int, steps: int, warm_up: int) -> float:
    """Return the learning rate of a step, counted from 0, as a share of the peak.

    The rate rises linearly, is constant, and falls in a cosine from half of the steps on. This is the schedule of RTMPose (Jiang et
    al. 2023, MMPose's configurations). A warm-up that is longer than half of the steps overlaps with the cosine.
    """
    rise = WARM_UP_START + (1 - WARM_UP_START) * min(1.0, step / max(1, warm_up))
    half = steps // 2
    through = min(1.0, max(0.0, (step - half) / (steps - half)))
    return rise * (FLAT_END + (1 - FLAT_END) * (1 + math.cos(math.pi * through)) / 2)


def weight_average(network: nn.Module, recipe: Recipe) -> AveragedModel:
    """Build the moving average of a network's weights and buffers; it starts as their values after the first step."""

    def update(ours: Any, theirs: Any, count: Any) -> None:
        get_ema_multi_avg_fn(average_decay(int(average.n_averaged), recipe))(ours, theirs, count)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    return average


def average_decay(step: int, recipe: Recipe) -> float:
    """Return the share of the average that stays in its update number `step`, counted from 0; as MMDetection's ExpMomentumEMA."""
    if not recipe.average_warm_up:
        return recipe.average
    return recipe.average * (1 - math.exp(-(1 + step) / recipe.average_warm_up))
