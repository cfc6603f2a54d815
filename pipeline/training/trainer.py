"""One training step of a network under a recipe, and the state that carries a training over a restart. Reads and writes no files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.common.errors import UserError
from pipeline.networks.run import as_tuple
from pipeline.pose.options import Weighting
from pipeline.training.distributed import Processes
from pipeline.training.losses import Supervision, loss_terms
from pipeline.training.optimizer import Recipe, build_optimizer, build_schedule, weight_average
from pipeline.training.teacher_weights import AdaptiveShares, confidence_shares


@dataclass(frozen=True)
class TrainingBatch:
    """The batch of one step, on the training device."""

    inputs: torch.Tensor
    """float (B, 3, H, W), normalised."""
    truth: Supervision
    teachers: dict[str, Supervision]
    people: list[str]
    """Dataset and id of each person, for messages."""


@dataclass(frozen=True)
class LossConfig:
    """The loss that a training minimises."""

    weights: Callable[[float], dict[str, float]]
    """Gives the weights of `truth` and of each teacher for the share of the steps that is done, 0 to 1."""
    logit_factor: float = 1.0
    """The network's outputs are multiplied by this before their softmax."""
    weighting: Weighting = "fixed"
    """How the teachers' total weight is distributed: by their own weights, or by pipeline.training.teacher_weights."""

    @property
    def teachers(self) -> list[str]:
        """Names of the teachers that have a weight."""
        return [name for name in self.weights(0.0) if name != "truth"]


@dataclass(frozen=True)
class RuntimeConfig:
    """How steps are computed. It changes rounding and speed alone."""

    autocast: torch.dtype | None = None
    """Data type of the forward pass; None for float32. Gradients of float16 are scaled against underflow."""
    compiled: bool = False
    """Is the network compiled by torch.compile? The first step then takes a minute, later ones are faster."""
    processes: Processes = field(default_factory=Processes)

    @property
    def description(self) -> str:
        """Data type, compilation and number of processes, for a message."""
        dtype = str(self.autocast or torch.float32).removeprefix("torch.")
        compiled = ", compiled" if self.compiled else ""
        return dtype + compiled + (f", {self.processes.count} processes" if self.processes.count > 1 else "")


class Trainer:
    """Trains a network by a recipe. `step` advances the training, `state` and `restore` carry it over a restart.

    With several processes each contributes a part of a step's people. Losses and gradients are those of all people together, and
    on GPUs batch norms use the statistics of all of them (SyncBatchNorm).
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        loss_config: LossConfig,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        self.recipe = recipe
        self.runtime = runtime or RuntimeConfig()
        device = next(network.parameters()).device
        self.average = weight_average(network, recipe)
        if self.runtime.processes.count > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network
        self.objective = Objective(network, loss_config, self.runtime).to(device)
        self.optimizer = build_optimizer(self.objective, recipe)
        self.schedule = build_schedule(self.optimizer, recipe)
        scales = self.runtime.autocast == torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scales)
        self.steps_done = 0
        self._run: nn.Module = self.objective
        if self.runtime.processes.count > 1:
            self._run = DistributedDataParallel(
                self.objective,
                device_ids=None if device.index is None else [device.index],
                gradient_as_bucket_view=True,
            )

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """Update the network once; return the loss terms in nats, over the people of all processes.

        UserError, in every process, where the loss is not finite; no weight has changed then.
        """
        self.objective.train()
        terms = self._run(batch, self.objective.loss_config.weights(self.steps_done / self.recipe.steps))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms["total"] + terms.get("mixture", 0.0)).backward()
        own = torch.stack(list(terms.values())).detach().float()
        values = self.runtime.processes.mean(own).tolist()
        if not math.isfinite(values[0]):
            named = self.runtime.processes.all_gather([] if torch.isfinite(own[0]) else batch.people)
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
        """Return everything that the next steps depend on, as `torch.save` takes it."""
        return {
            "steps_done": self.steps_done,
            "objective": self.objective.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.objective.load_state_dict(state["objective"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.steps_done = int(state["steps_done"])


class Objective(nn.Module):
    """Computes the loss terms of a batch: the network and all else that is learned, as one module that processes can share."""

    def __init__(self, network: nn.Module, loss_config: LossConfig, runtime: RuntimeConfig) -> None:
        super().__init__()
        self.network = network
        self.loss_config = loss_config
        self.runtime = runtime
        self.shares: AdaptiveShares | None = None
        if loss_config.weighting == "adaptive" and loss_config.teachers:
            self.shares = AdaptiveShares(loss_config.teachers, network.channels)  # type: ignore[arg-type]
        self._predict = torch.compile(self._outputs, dynamic=False) if runtime.compiled else self._outputs

    def forward(self, batch: TrainingBatch, weights: dict[str, float]) -> dict[str, torch.Tensor]:
        """Return the loss `total` that the network learns from, its terms, and the loss `mixture` of the adaptive shares."""
        config, reduce_count = self.loss_config, self.runtime.processes.mean
        autocast = self.runtime.autocast
        with torch.autocast(batch.inputs.device.type, autocast, enabled=autocast is not None):
            outputs, pooled = self._predict(batch.inputs)
        logits = tuple(config.logit_factor * output.float() for output in outputs)
        shares = None
        if config.weighting == "confidence":
            shares = confidence_shares(batch.truth, batch.teachers)
        elif self.shares is not None:
            shares = self.shares(pooled, batch.teachers)
        terms = loss_terms(logits, batch.truth, batch.teachers, weights, shares, reduce_count)
        if self.shares is not None and shares is not None:
            terms["mixture"] = self.shares.loss(shares, batch.truth, batch.teachers, reduce_count)
        return terms

    def _outputs(self, inputs: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        if self.shares is None:
            return as_tuple(self.network(inputs)), None
        features = self.network.features(inputs)  # type: ignore[operator]
        return as_tuple(self.network.outputs(features)), features.mean(dim=(2, 3))  # type: ignore[operator]
