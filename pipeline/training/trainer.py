"""The training loop: one step of a network under a recipe, and a state that can be saved and continued. Knows no files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.errors import UserError
from pipeline.losses import Supervision, consistency, known_by_any, loss_terms
from pipeline.networks.run import as_tuple
from pipeline.skeletons import Skeleton
from pipeline.training.distributed import Processes
from pipeline.training.recipe import Recipe, averaged, optimizer, schedule
from pipeline.weightings import AdaptiveShares, confidence_shares

Weighting = Literal["fixed", "confidence", "adaptive"]


@dataclass(frozen=True)
class TrainingBatch:
    """What one step needs, on the training device."""

    inputs: torch.Tensor
    truth: Supervision
    teachers: dict[str, Supervision]
    people: list[str]


@dataclass(frozen=True)
class Aim:
    """What is minimised."""

    weights: Callable[[float], dict[str, float]]
    """Of `truth` and each teacher, by the share of the steps that is done."""
    skeleton: Skeleton
    """The network's."""
    deviation: float | tuple[float, float]
    """Standard deviation of the labels, in pixels of maps or bins of x and of y."""
    factor: float = 1.0
    """What outputs are multiplied by before their softmax."""
    weighting: Weighting = "fixed"
    """How the teachers' total is shared out: as their weights say, or as pipeline.weightings does."""
    consistency: float = 0.0
    """Weight of pipeline.losses.consistency."""

    @property
    def teachers(self) -> list[str]:
        return [name for name in self.weights(0.0) if name != "truth"]


@dataclass(frozen=True)
class Execution:
    """How steps are computed, which changes rounding and speed alone."""

    autocast: torch.dtype | None = None
    """What the forward pass computes in where that is not float32. Gradients of float16 are scaled against underflow."""
    compiled: bool = False
    """torch.compile for the network: the first step takes a minute, later ones less."""
    processes: Processes = field(default_factory=Processes)


class Trainer:
    """A network under a recipe. `step` advances it, `state` and `restore` carry it over a restart.

    With several processes each gives its part of a step's people; losses and gradients are those of all people together, and
    on GPUs norms see all of them (SyncBatchNorm).
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        aim: Aim,
        execution: Execution | None = None,
    ) -> None:
        self.recipe = recipe
        self.execution = execution or Execution()
        device = next(network.parameters()).device
        self.average = averaged(network, recipe)
        if self.execution.processes.count > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network
        self.objective = Objective(network, aim, self.execution).to(device)
        self.optimizer = optimizer(self.objective, recipe)
        self.schedule = schedule(self.optimizer, recipe)
        scales = self.execution.autocast == torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scales)
        self.steps_done = 0
        self._run: nn.Module = self.objective
        if self.execution.processes.count > 1:
            self._run = DistributedDataParallel(
                self.objective,
                device_ids=None if device.index is None else [device.index],
                gradient_as_bucket_view=True,
            )

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """One update; the loss terms in nats, over all processes' people.

        UserError, in every process, if the loss is not finite, before any weight is changed by it.
        """
        self.objective.train()
        terms = self._run(batch, self.objective.aim.weights(self.steps_done / self.recipe.steps))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms["total"] + terms.get("mixture", 0.0)).backward()
        own = torch.stack(list(terms.values())).detach().float()
        values = self.execution.processes.mean(own).tolist()
        if not math.isfinite(values[0]):
            named = self.execution.processes.joined([] if torch.isfinite(own[0]) else batch.people)
            raise UserError(
                f"step {self.steps_done + 1}: the loss is {values[0]} on {', '.join(named)}: "
                "lower the learning rate in params.yaml and run this again"
            )
        self.scaler.unscale_(self.optimizer)
        if self.recipe.clip is not None:
            for module in self.objective.children():
                nn.utils.clip_grad_norm_(module.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.network)
        self.steps_done += 1
        return dict(zip(terms, values, strict=True))

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "steps_done": self.steps_done,
            "objective": self.objective.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.objective.load_state_dict(state["objective"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.steps_done = int(state["steps_done"])


class Objective(nn.Module):
    """A batch to its loss terms: the network and whatever else is learned, as one module that processes can share."""

    def __init__(self, network: nn.Module, aim: Aim, execution: Execution) -> None:
        super().__init__()
        self.network = network
        self.aim = aim
        self.execution = execution
        self.shares: AdaptiveShares | None = None
        if aim.weighting == "adaptive" and aim.teachers:
            self.shares = AdaptiveShares(aim.teachers, network.channels)  # type: ignore[arg-type]
        self._predict = torch.compile(self._outputs, dynamic=False) if execution.compiled else self._outputs

    def forward(self, batch: TrainingBatch, weights: dict[str, float]) -> dict[str, torch.Tensor]:
        """`total`, which the network learns from, its terms, and the adaptive shares' own `mixture`."""
        aim, counted = self.aim, self.execution.processes.mean
        autocast = self.execution.autocast
        with torch.autocast(batch.inputs.device.type, autocast, enabled=autocast is not None):
            outputs, pooled = self._predict(batch.inputs)
        logits = tuple(aim.factor * output.float() for output in outputs)
        shares = None
        if aim.weighting == "confidence":
            shares = confidence_shares(batch.truth, batch.teachers)
        elif self.shares is not None:
            shares = self.shares(pooled, batch.teachers)
        terms = loss_terms(logits, batch.truth, batch.teachers, weights, shares, counted)
        if aim.consistency:
            keypoints = known_by_any(batch.truth, batch.teachers)
            terms["consistency"] = consistency(logits, keypoints, aim.skeleton, aim.deviation, counted)
            terms["total"] = terms["total"] + aim.consistency * terms["consistency"]
        if self.shares is not None and shares is not None:
            terms["mixture"] = self.shares.loss(shares, batch.truth, batch.teachers, counted)
        return terms

    def _outputs(self, inputs: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        if self.shares is None:
            return as_tuple(self.network(inputs)), None
        features = self.network.features(inputs)  # type: ignore[operator]
        return as_tuple(self.network.outputs(features)), features.mean(dim=(2, 3))  # type: ignore[operator]
