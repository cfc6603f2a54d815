import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.training.losses import Supervision
from pipeline.training.optimizer import Recipe
from pipeline.training.resample import gaussians, normalised_targets
from pipeline.training.trainer import LossConfig, RuntimeConfig, Trainer, TrainingBatch

RECIPE = Recipe(steps=60, learning_rate=0.01, warm_up=12, weight_decay=0.05, clip=5.0, average=0.9)
WEIGHTS = {"truth": 0.6, "tiny": 0.4}
LOSS = LossConfig(lambda progress: WEIGHTS)
K = 3


def network():
    """A network from crops (B, 3, 32, 32) to maps (B, K, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, K, 1),
    )


def trainer(recipe=RECIPE):
    torch.manual_seed(0)
    return Trainer(network(), recipe, LOSS)


def batch(seed=0):
    """Return four noise crops of 32 x 32 with other keypoints in each, and a teacher that knows two of three."""
    random = torch.Generator().manual_seed(seed)
    points = 1 + 5 * torch.rand(4, K, 2, generator=random)
    (target,) = gaussians(points, (8, 8), 0.8, bins=False)
    known = torch.tensor([[True, True, False]] * 4)
    return TrainingBatch(
        inputs=torch.randn(4, 3, 32, 32, generator=random),
        truth=Supervision((target,), torch.ones(4, K, dtype=torch.bool)),
        teachers={"tiny": Supervision(normalised_targets((target**0.5,)), known)},
        people=[f"coco person {n}" for n in range(4)],
    )


def weights(of: Trainer):
    return {name: value.clone() for name, value in of.network.state_dict().items()}


def test_one_batch_is_overfitted():
    """From about log(64) less the target's entropy of 2.4 nats, to a fifth of it."""
    training = trainer()
    losses = [training.step(batch()) for _ in range(RECIPE.steps)]
    assert losses[0].keys() == {"total", "truth", "tiny"}
    assert losses[-1]["total"] < 0.2 * losses[0]["total"]
    assert losses[-1]["truth"] < 0.2 * losses[0]["truth"]
    assert training.steps_done == RECIPE.steps


def test_total_is_the_weighted_sum():
    terms = trainer().step(batch())
    assert terms["total"] == pytest.approx(0.6 * terms["truth"] + 0.4 * terms["tiny"], rel=1e-6)


def test_weights_follow_the_progress():
    """Steps 1 to 3 of 60: truth alone, then more and more of the teacher."""
    torch.manual_seed(0)
    aim = replace(LOSS, weights=lambda progress: {"truth": 1.0, "tiny": 60 * progress})
    training = Trainer(network(), RECIPE, aim)
    for done in range(3):
        terms = training.step(batch())
        assert terms["total"] == pytest.approx(terms["truth"] + done * terms["tiny"], rel=1e-6)


def test_no_limit_leaves_the_gradient_as_it_is():
    """AdamW's first moment after one step is a tenth of the gradient, which is larger than what a limit would leave."""
    norms = []
    for clip in (None, 1e9, 1e-3):
        training = trainer(replace(RECIPE, clip=clip))
        training.step(batch())
        moments = [state["exp_avg"] for state in training.optimizer.state_dict()["state"].values()]
        norms.append(float(torch.cat([m.flatten() for m in moments]).norm()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert norms[0] > 10 * norms[2]


def test_names_stay_plain_however_steps_are_computed():
    plain = trainer().state()
    compiled = Trainer(network(), RECIPE, LOSS, RuntimeConfig(torch.bfloat16, compiled=True)).state()
    assert compiled["objective"].keys() == plain["objective"].keys()
    assert compiled["average"].keys() == plain["average"].keys()
    assert {"network.0.weight", "network.1.running_mean"} <= plain["objective"].keys()


def test_float16_without_a_gpu_is_not_scaled():
    """On a GPU the scale is part of the state; without a GPU float16 is refused (tests/stages)."""
    assert trainer().state()["scaler"] == {}


def test_a_restored_run_ends_with_the_same_bits(tmp_path):
    """The state passes through a file that is read without unpickling objects."""
    undisturbed, first = trainer(), trainer()
    for step in range(8):
        undisturbed.step(batch(step))
    for step in range(5):
        first.step(batch(step))
    torch.save(first.state(), tmp_path / "state.pt")
    torch.manual_seed(123)
    second = Trainer(network(), RECIPE, LOSS)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.steps_done == 5
    for step in range(5, 8):
        second.step(batch(step))
    for ours, theirs in ((second.network, undisturbed.network), (second.average, undisturbed.average)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
    assert second.schedule.get_last_lr() == undisturbed.schedule.get_last_lr()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_people_and_changes_no_weight(wrong):
    training = trainer()
    training.step(batch())
    spoilt = batch(1)
    target = spoilt.truth.target[0].clone()
    target[0, 0, 0, 0] = wrong
    before = {name: value.clone() for name, value in training.network.named_parameters()}
    averaged, optimizer = copy.deepcopy(training.average.state_dict()), copy.deepcopy(training.optimizer.state_dict())
    with pytest.raises(UserError, match=re.escape("step 2: the loss is ")) as error:
        training.step(replace(spoilt, truth=Supervision((target,), spoilt.truth.valid)))
    for person in spoilt.people:
        assert person in str(error.value)
    assert "learning rate" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in training.network.named_parameters())
    assert all(torch.equal(value, averaged[name]) for name, value in training.average.state_dict().items())
    for n, state in training.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, optimizer["state"][n][key]) for key, value in state.items())
    assert training.steps_done == 1


def test_norms_and_biases_do_not_decay():
    training = trainer()
    decay = {id(p): group["weight_decay"] for group in training.optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(training.network.parameters()))
    for module in training.network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            free = isinstance(module, nn.BatchNorm2d) or name == "bias"
            assert decay[id(parameter)] == (0.0 if free else 0.05)


def test_the_rate_rises_and_falls():
    training = trainer(replace(RECIPE, steps=20, warm_up=4))
    rates = []
    for _ in range(20):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.step(batch())
    # OneCycleLR: from a 25th of the peak, up to it after 20 % of the steps, down to a 10,000th of the start.
    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 3
    assert rates[-1] == pytest.approx(0.01 / 25 / 1e4)


def test_the_gradient_is_clipped():
    """AdamW's first moment after one step is a tenth of the clipped gradient."""
    training = trainer(replace(RECIPE, clip=1e-3))
    training.step(batch())
    moments = [state["exp_avg"] for state in training.optimizer.state_dict()["state"].values()]
    assert float(torch.cat([m.flatten() for m in moments]).norm()) == pytest.approx(1e-4, rel=1e-4)


def test_the_average_follows_with_its_decay():
    training = trainer()
    training.step(batch())
    first = weights(training)
    assert all(torch.equal(v, first[n]) for n, v in training.average.module.state_dict().items())
    training.step(batch(1))
    name = "5.weight"
    expected = 0.9 * first[name] + 0.1 * weights(training)[name]
    assert torch.allclose(training.average.module.state_dict()[name], expected, rtol=0, atol=1e-7)


class Separate(nn.Module):
    """A network from crops (B, 3, 32, 32) to bins of x (B, K, 16) and of y (B, K, 24), as SimCC; scores of about 0 to 1."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 32, 4, stride=4), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten())
        self.x, self.y = nn.Linear(32 * 64, K * 16), nn.Linear(32 * 64, K * 24)

    def forward(self, crops):
        features = self.body(crops)
        return 0.1 * self.x(features).view(-1, K, 16), 0.1 * self.y(features).view(-1, K, 24)


def batch_of_bins(seed=0):
    """Return four noise crops with truth and a teacher over bins; the last keypoint of the last person is unknown."""
    random = torch.Generator().manual_seed(seed)
    points = 2 + 10 * torch.rand(4, K, 2, generator=random)
    target = gaussians(points, (16, 24), 1.5, bins=True)
    known = torch.ones(4, K, dtype=torch.bool)
    known[3, 2] = False
    softer = normalised_targets(tuple(part**0.5 for part in target))
    return TrainingBatch(
        inputs=torch.randn(4, 3, 32, 32, generator=random),
        truth=Supervision(target, known),
        teachers={"tiny": Supervision(softer, known)},
        people=[f"coco person {n}" for n in range(4)],
    )


def trainer_of_bins(factor=10.0, recipe=RECIPE):
    torch.manual_seed(0)
    return Trainer(Separate(), recipe, replace(LOSS, logit_factor=factor))


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_the_first_loss_over_bins_by_hand(factor):
    """KL of x and of y from softmax(factor x score), over the known pairs, before any step."""
    training, data = trainer_of_bins(factor), batch_of_bins()
    with torch.no_grad():
        outputs = copy.deepcopy(training.network).train()(data.inputs)
    expected = 0.0
    for output, target in zip(outputs, data.truth.target, strict=True):
        log_student = torch.log(torch.softmax(factor * output.double(), dim=2))
        each = (target.double() * (target.double().clamp(min=1e-30).log() - log_student)).sum(dim=2)
        expected += float(each[data.truth.valid].mean())
    assert training.step(data)["truth"] == pytest.approx(expected, rel=1e-5)


def test_two_steps_over_bins():
    """Both axes learn, and only known pairs are used."""
    training, data = trainer_of_bins(), batch_of_bins()
    before = weights(training)
    first, second = training.step(data), training.step(data)
    assert second["total"] < first["total"]
    assert first["total"] == pytest.approx(0.6 * first["truth"] + 0.4 * first["tiny"], rel=1e-6)
    for name in ("x.weight", "y.weight", "body.0.weight"):
        assert not torch.equal(weights(training)[name], before[name])
    unknown = tuple(part.clone() for part in data.truth.target)
    for part in unknown:
        part[3, 2] = 7.0
    same = trainer_of_bins()
    spoilt = Supervision(unknown, data.truth.valid)
    same.step(replace(data, truth=spoilt))
    same.step(replace(data, truth=spoilt))
    assert all(torch.equal(value, weights(training)[name]) for name, value in weights(same).items())


def test_bins_are_overfitted():
    training, data = trainer_of_bins(), batch_of_bins()
    losses = [training.step(data)["truth"] for _ in range(RECIPE.steps)]
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        found = training.network.eval()(data.inputs)
    for part, target in zip(found, data.truth.target, strict=True):
        away = (part.argmax(dim=2) - target.argmax(dim=2)).abs()
        assert int(away[data.truth.valid].max()) <= 1
