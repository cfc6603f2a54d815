"""Optimiser groups, learning rates and the moving average's decay: against torch's own schedules and numbers by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

from pipeline.networks.rtmpose import RTMPose
from pipeline.training.optimizer import (
    Recipe,
    average_decay,
    build_optimizer,
    build_schedule,
    flat_cosine,
    weight_average,
)

RECIPE = Recipe(steps=40, learning_rate=4e-3, warm_up=6, weight_decay=0.05, clip=None, average=0.9998)


def rates(recipe: Recipe) -> list[float]:
    """Return the learning rates of all steps."""
    of = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    plan, found = build_schedule(of, recipe), []
    for _ in range(recipe.steps):
        found.append(of.param_groups[0]["lr"])
        of.step()
        plan.step()
    return found


def test_flat_cosine_is_torchs_linear_constant_and_cosine_in_a_row():
    of = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=4e-3)
    parts = [
        LinearLR(of, start_factor=1e-5, total_iters=6),
        ConstantLR(of, factor=1.0, total_iters=1),
        CosineAnnealingLR(of, T_max=20, eta_min=4e-3 * 0.05),
    ]
    plan, expected = SequentialLR(of, parts, milestones=[6, 20]), []
    for _ in range(40):
        expected.append(of.param_groups[0]["lr"])
        of.step()
        plan.step()
    # torch multiplies step by step, in float64: 40 roundings.
    assert rates(replace(RECIPE, schedule="flat-cosine")) == pytest.approx(expected, rel=1e-12)


def test_flat_cosine_by_hand():
    assert flat_cosine(0, 1000, 100) == 1e-5
    assert flat_cosine(50, 1000, 100) == pytest.approx(0.500005)
    assert flat_cosine(100, 1000, 100) == flat_cosine(499, 1000, 100) == 1.0
    assert flat_cosine(750, 1000, 100) == pytest.approx(0.525)
    assert flat_cosine(1000, 1000, 100) == pytest.approx(0.05)
    assert flat_cosine(0, 2, 1) == 1e-5


@pytest.mark.parametrize("warm_up", [0, 1, 2, 20, 39])
@pytest.mark.parametrize("plan", ["one-cycle", "flat-cosine"])
def test_any_warm_up_is_possible(warm_up, plan):
    for steps in (2, 3, 40):
        found = rates(replace(RECIPE, steps=steps, warm_up=min(warm_up, steps - 1), schedule=plan))
        assert all(0 < rate <= 4e-3 for rate in found)


def test_what_decays_of_rtmpose():
    """Kernels and matrices; of its attention neither gamma and beta, which have two dimensions, nor g and scale."""
    network = RTMPose("t", 3, (64, 64))
    names = {id(p): name for name, p in network.named_parameters()}
    decays, free = build_optimizer(network, RECIPE).param_groups
    assert (decays["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert len(decays["params"]) + len(free["params"]) == len(names)
    kept = {names[id(p)] for p in decays["params"]}
    assert {"head.gau.uv.weight", "head.gau.o.weight", "head.cls_x.weight", "head.final_layer.weight"} <= kept
    assert {"head.gau.gamma", "head.gau.beta", "head.gau.ln.g", "head.gau.res_scale.scale"}.isdisjoint(kept)
    norms = {id(p) for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    assert norms
    assert norms.isdisjoint(id(p) for p in decays["params"])
    assert all(name.endswith(".weight") for name in kept)


def test_the_average_slows_down_as_in_mmdetection():
    """Its share of the new weights: (1 - 0.0002) exp(-(1 + n) / 2000) + 0.0002."""
    recipe = replace(RECIPE, average_warm_up=2000)
    for step in (1, 1999, 10_000):
        assert 1 - average_decay(step, recipe) == pytest.approx(0.9998 * math.exp(-(1 + step) / 2000) + 0.0002)
    assert average_decay(1, RECIPE) == 0.9998


def test_the_average_after_three_updates_by_hand():
    """The first weight, then with decays 0.5 (1 - 1/e^2) and 0.5 (1 - 1/e^3): a warm-up of one step."""
    network = nn.Linear(1, 1, bias=False)
    average = weight_average(network, replace(RECIPE, average=0.5, average_warm_up=1))
    expected = 0.0
    for update, value in enumerate((0.0, 1.0, 2.0)):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        keeps = 0.5 * (1 - math.exp(-(1 + update))) if update else 0.0
        expected = keeps * expected + (1 - keeps) * value
    assert average.module.weight.item() == pytest.approx(expected, abs=1e-6)
