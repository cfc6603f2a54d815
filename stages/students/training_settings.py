"""The training recipe in params.yaml, under `fit.training` and `distill.training`."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from pipeline.common.errors import UserError
from pipeline.common.threads import cores
from pipeline.pose.options import Schedule, TrainingPrecision

RUNTIME_ONLY = ("workers", "image_memory", "checkpoint_seconds")
"""Settings that change speed and memory, and no weight."""

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class TrainingSettings:
    """The training recipe of teachers and students; the optimiser is AdamW."""

    steps: Annotated[int, Ge(2)] | None = None
    """Length of the training in steps; 1000 if `epochs` is not given either."""
    epochs: Positive | None = None
    """Length of the training in passes over the people, instead of `steps`."""
    batch: Annotated[int, Ge(2)] = 16
    """People per step, of all processes together."""
    learning_rate: Positive = 0.01
    """The largest learning rate."""
    schedule: Schedule = "one-cycle"
    """`one-cycle` rises and falls as cosines. `flat-cosine` rises linearly, stays constant for half of the steps, and falls as a
    cosine to a twentieth, as RTMPose is trained."""
    warm_up: Annotated[float, Gt(0), Le(0.9)] = 0.15
    """Share of the steps in which the learning rate rises."""
    warm_up_steps: Annotated[int, Ge(1)] | None = None
    """Number of steps in which the learning rate rises, instead of `warm_up`."""
    weight_decay: Annotated[float, Ge(0)] = 0.05
    """Weight decay of convolutions and linear layers; norms, biases and scales have none."""
    clip: Positive | None = 5.0
    """Largest norm of the gradient, null for no limit."""
    average: Annotated[float, Ge(0), Le(0.99999)] = 0.98
    """Decay of the moving average of the weights, which is the network that is saved."""
    average_warm_up: Annotated[float, Ge(0)] = 0.0
    """Steps over which the decay rises to `average`; MMPose takes 2000 with a decay of 0.9998."""
    final_weak_share: Share = 0.1
    """Share of the steps, at the end, that use plain and weak views only."""
    sigma: Positive = 0.8
    """Standard deviation of the labels' Gaussians in heatmap pixels."""
    simcc_sigma: tuple[Positive, Positive] | None = None
    """Standard deviation of the labels' Gaussians in bins of x and of y, for SimCC students; by default RTMPose's, which follows from
    the size of the input."""
    scale: Share = 0.15
    shift: Share = 0.05
    """Largest jitter of a view's size and position, as a share of its size."""
    flip: Share = 0.5
    """Probability that a crop is mirrored."""
    color: Share = 0.3
    """Strength of the changes of colour, see pipeline.training.augment."""
    cut_out: Share = 0.5
    """Probability that a rectangle of a crop is cut out."""
    precision: TrainingPrecision = "auto"
    """Number type of the forward pass; `auto` is bfloat16 where the hardware has it. float16 needs a GPU."""
    compile: bool = False
    """Whether the network is compiled (torch.compile), which is faster in long runs on GPUs. Weights are the same up to rounding."""
    threads: Annotated[int, Ge(1), Le(256)] | None = None
    """Threads that compute on the CPU, in each process; by default half of the cores. Small networks gain little from more, and threads
    that wait for each other lose most of their speed where other programs compute. Another number rounds differently, and after many
    steps the weights are others."""
    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Threads that read images ahead, in each process."""
    image_memory: Annotated[float, Ge(0.01)] = 0.5
    """Gigabytes of decoded images kept in memory, by all processes together."""
    checkpoint_seconds: Annotated[float, Ge(0)] = 60.0
    """Seconds between checkpoints: at most so much is lost when the training is killed."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("expected either `steps` or `epochs`, found both")

    def times(self, factor: float) -> "TrainingSettings":
        """Return the settings of a training that is `factor` times as long."""
        if self.epochs is not None:
            return dataclasses.replace(self, epochs=self.epochs * factor)
        return dataclasses.replace(self, steps=max(2, round(factor * self.length(0))))

    def length(self, people: int) -> int:
        """Return the number of steps for a training over that number of people."""
        if self.epochs is None:
            return 1000 if self.steps is None else self.steps
        return max(2, math.ceil(self.epochs * people / self.batch))

    def rise(self, steps: int) -> int:
        """Return the number of steps in which the learning rate rises; UserError if that is all of them."""
        rise = self.warm_up_steps or round(self.warm_up * steps)
        if rise >= steps:
            raise UserError(
                f"params.yaml: training.warm_up_steps: expected fewer than the {steps} steps of the training, found {rise}"
            )
        return rise

    @property
    def computing_threads(self) -> int:
        """The number of threads that compute on the CPU, `threads` or its default on this machine."""
        return self.threads or max(1, cores() // 2)

    @property
    def affects_weights(self) -> dict[str, Any]:
        """The settings that the trained weights depend on: all but RUNTIME_ONLY."""
        return {name: value for name, value in vars(self).items() if name not in RUNTIME_ONLY}
