"""The recipe of a training as params.yaml says it, under `fit.training` and `distill.training`."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from pipeline.errors import UserError
from pipeline.networks.run import Precision
from pipeline.training.recipe import Schedule

INDIFFERENT = ("workers", "picture_memory", "checkpoint_seconds")
"""Settings that change no weight."""

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe, shared by teachers and students. Optimised is with AdamW."""

    steps: Annotated[int, Ge(2)] | None = None
    """How long; 1000 where `epochs` says nothing either."""
    epochs: Positive | None = None
    """How long, in rounds over the people, instead of `steps`."""
    batch: Annotated[int, Ge(2)] = 16
    """People per step, of all processes together."""
    learning_rate: Positive = 0.01
    """The largest."""
    schedule: Schedule = "one-cycle"
    """`one-cycle` rises and falls in cosines; `flat-cosine` rises in a line, stays for half of the steps, and falls in a cosine to
    a twentieth, as RTMPose is trained."""
    warm_up: Annotated[float, Gt(0), Le(0.9)] = 0.15
    """Share of the steps in which the rate rises."""
    warm_up_steps: Annotated[int, Ge(1)] | None = None
    """The same as a number of steps, instead of `warm_up`."""
    weight_decay: Annotated[float, Ge(0)] = 0.05
    """Of convolutions and linear layers; norms, biases and scales have none."""
    clip: Positive | None = 5.0
    """Largest norm of the gradient; null for no limit."""
    average: Annotated[float, Ge(0), Le(0.99999)] = 0.98
    """Decay of the moving average of weights, which is the network that is kept."""
    average_warm_up: Annotated[float, Ge(0)] = 0.0
    """Steps over which the average slows down to that; MMPose takes 2000 with a decay of 0.9998."""
    settle: Share = 0.1
    """Share of the steps, at the end, with plain and weak views only."""
    sigma: Positive = 0.8
    """Of the labels' Gaussians, in heatmap pixels."""
    simcc_sigma: tuple[Positive, Positive] | None = None
    """Of the labels' bells in bins of x and of y, for students of bins; by default as RTMPose's, from the input's size."""
    scale: Share = 0.15
    shift: Share = 0.05
    """Largest jitter of a view, as a share of its size."""
    flip: Share = 0.5
    color: Share = 0.3
    cut_out: Share = 0.5
    """Probability of a hole."""
    precision: Precision = "auto"
    """Of the forward pass; `auto` is bfloat16 where the hardware computes in it. float16 wants a GPU."""
    compile: bool = False
    """Compile the network (torch.compile): pays in long runs on GPUs. The weights stay the same up to rounding."""
    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Threads that read ahead, in each process."""
    picture_memory: Annotated[float, Ge(0.01)] = 0.5
    """Gigabytes of decoded pictures kept, by all processes together."""
    checkpoint_seconds: Annotated[float, Ge(0)] = 60.0
    """At most so much is lost when the training is killed."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("expected either `steps` or `epochs`, found both")

    def length(self, people: int) -> int:
        """Steps over so many people."""
        if self.epochs is None:
            return 1000 if self.steps is None else self.steps
        return max(2, math.ceil(self.epochs * people / self.batch))

    def rise(self, steps: int) -> int:
        """Steps in which the learning rate rises; UserError where that is all of them."""
        rise = self.warm_up_steps or round(self.warm_up * steps)
        if rise >= steps:
            raise UserError(
                f"params.yaml: training.warm_up_steps: expected fewer than the {steps} steps of the training, found {rise}"
            )
        return rise

    @property
    def decisive(self) -> dict[str, Any]:
        """What the trained weights follow from: all but what speed and memory ask for."""
        return {name: value for name, value in vars(self).items() if name not in INDIFFERENT}
