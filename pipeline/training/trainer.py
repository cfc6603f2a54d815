"""The training loop: optimiser, one-cycle schedule, moving average, and a state that can be saved and continued. Knows no files."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.errors import UserError
from pipeline.losses import Supervision, loss_terms
from pipeline.networks.run import as_tuple

NO_DECAY = (nn.BatchNorm2d, nn.LayerNorm)


@dataclass(frozen=True)
class Recipe:
    """How long and how hard."""

    steps: int
    learning_rate: float
    """Peak of the one-cycle schedule."""
    warm_up: float
    """Share of the steps in which the rate rises."""
    weight_decay: float
    """On weights; none on norms and biases."""
    clip: float
    """Largest gradient norm."""
    average: float
    """Decay of the moving average of weights."""


@dataclass(frozen=True)
class TrainingBatch:
    """What one step needs, on the training device."""

    inputs: torch.Tensor
    truth: Supervision
    teachers: dict[str, Supervision]
    people: list[str]


class Trainer:
    """A network under a recipe. `step` advances it, `state` and `restore` carry it over a restart."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        weights: dict[str, float],
        autocast: torch.dtype | None = None,
        factor: float = 1.0,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.weights = weights
        self.autocast = autocast
        self.factor = factor
        """What outputs are multiplied by before their softmax."""
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
        self.optimizer = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=recipe.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            recipe.learning_rate,
            total_steps=recipe.steps,
            pct_start=recipe.warm_up,
            cycle_momentum=False,
        )
        self.steps_done = 0

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """One update; the loss terms in nats. UserError if the loss is not finite, before any weight is changed by it."""
        self.network.train()
        with torch.autocast(batch.inputs.device.type, self.autocast, enabled=self.autocast is not None):
            outputs = as_tuple(self.network(batch.inputs))
        logits = tuple(self.factor * output.float() for output in outputs)
        terms = loss_terms(logits, batch.truth, batch.teachers, self.weights)
        if not torch.isfinite(terms["total"]):
            raise UserError(
                f"step {self.steps_done + 1}: the loss is {terms['total'].item()} on {', '.join(batch.people)}: "
                "lower the learning rate in params.yaml and run this again"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        self.steps_done += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "steps_done": self.steps_done,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps_done = int(state["steps_done"])


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    kept: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (free if isinstance(module, NO_DECAY) or name == "bias" else kept).append(parameter)
    return [{"params": kept, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
