import math

import pytest
import torch

from pipeline.losses import Supervision, divergence, loss_terms
from pipeline.targets.distributions import normalised


def supervision(target, valid=None):
    """Of maps (B, K, H, W), or of a tuple of them or of rows of bins."""
    arrays = target if isinstance(target, tuple) else (target,)
    known = torch.ones(arrays[0].shape[:2], dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Supervision(arrays, known)


def random_target(*shape, seed=0):
    (target,) = normalised((torch.rand(*shape, generator=torch.Generator().manual_seed(seed)),))
    return target


def random_logits(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_equal_distributions_diverge_by_nothing():
    logits = random_logits(2, 3, 8, 6)
    target = torch.softmax(logits.detach().flatten(2), dim=2).view(2, 3, 8, 6)
    assert abs(divergence((logits,), supervision(target)).item()) < 1e-6  # 48 float32 terms of 0.1
    shifted = logits + torch.arange(6.0).view(2, 3, 1, 1)
    assert abs(divergence((shifted,), supervision(target)).item()) < 1e-5


def test_value_on_two_pixels():
    """Target (1/4, 3/4), student (1/2, 1/2): 1/4 log(1/2) + 3/4 log(3/2) nats; a certain target costs log 2."""
    logits = torch.zeros(1, 1, 1, 2)
    quarter = torch.tensor([0.25, 0.75]).view(1, 1, 1, 2)
    assert divergence((logits,), supervision(quarter)).item() == pytest.approx(
        0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    )
    certain = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert divergence((logits,), supervision(certain)).item() == pytest.approx(math.log(2))


def test_mean_is_over_valid_pairs():
    """Of three pairs one costs log 2, one nothing, and one, not valid, would cost log 2."""
    target = torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]).view(1, 3, 1, 2)
    loss = divergence((torch.zeros(1, 3, 1, 2),), supervision(target, [[True, True, False]]))
    assert loss.item() == pytest.approx(math.log(2) / 2)


def test_masked_pairs_have_exactly_no_gradient():
    logits = random_logits(2, 3, 8, 6)
    valid = [[True, False, True], [False, False, True]]
    divergence((logits,), supervision(random_target(2, 3, 8, 6), valid)).backward()
    touched = logits.grad.abs().sum(dim=(2, 3))
    assert (touched[~torch.tensor(valid)] == 0).all()
    assert (touched[torch.tensor(valid)] > 0).all()


def test_masked_targets_may_be_anything():
    target = random_target(1, 2, 4, 4)
    spoilt = target.clone()
    spoilt[0, 1] = float("nan")
    logits = random_logits(1, 2, 4, 4)
    loss = divergence((logits,), supervision(spoilt, [[True, False]]))
    loss.backward()
    assert loss.item() == divergence((logits,), supervision(target, [[True, False]])).item()
    assert torch.isfinite(logits.grad).all()


def test_nothing_valid_is_zero_with_zero_gradient():
    logits = random_logits(2, 3, 4, 4)
    loss = divergence((logits,), supervision(torch.zeros(2, 3, 4, 4), [[False] * 3] * 2))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_batch_twice_gives_the_same_terms():
    logits, valid = random_logits(2, 3, 4, 4), [[True, True, False], [False, True, True]]
    truth, teacher = random_target(2, 3, 4, 4), random_target(2, 3, 4, 4, seed=2)
    weights = {"truth": 0.3, "a": 0.7}
    once = loss_terms((logits,), supervision(truth, valid), {"a": supervision(teacher)}, weights)
    twice = loss_terms(
        (torch.cat([logits, logits]),),
        supervision(torch.cat([truth, truth]), valid * 2),
        {"a": supervision(torch.cat([teacher, teacher]))},
        weights,
    )
    assert once.keys() == twice.keys() == {"total", "truth", "a"}
    for name in once:
        assert once[name].item() == pytest.approx(twice[name].item(), abs=1e-6)


def test_pairs_that_are_not_valid_do_not_dilute():
    logits, target = random_logits(1, 2, 4, 4), random_target(1, 2, 4, 4)
    alone = divergence((logits,), supervision(target))
    among = divergence(
        (torch.cat([logits, random_logits(9, 2, 4, 4, seed=5)]),),
        supervision(torch.cat([target, torch.zeros(9, 2, 4, 4)]), [[True] * 2] + [[False] * 2] * 9),
    )
    assert alone.item() == pytest.approx(among.item(), abs=1e-6)


def test_total_is_the_published_weighted_sum():
    """0.3 for the truth, 0.25 and 0.45 for the two teachers (Khan et al. 2024)."""
    logits = torch.zeros(1, 1, 1, 4)

    def sure_of(pixels):
        """A target with equal shares on so many of the four pixels: log(4 / pixels) nats from the student."""
        return supervision((torch.arange(4) < pixels).float().view(1, 1, 1, 4) / pixels)

    terms = loss_terms(
        (logits,), sure_of(1), {"coco": sure_of(2), "mpii": sure_of(4)}, {"truth": 0.3, "coco": 0.25, "mpii": 0.45}
    )
    assert terms["truth"].item() == pytest.approx(math.log(4))
    assert terms["coco"].item() == pytest.approx(math.log(2))
    assert terms["mpii"].item() == pytest.approx(0, abs=1e-6)
    assert terms["total"].item() == pytest.approx(0.3 * math.log(4) + 0.25 * math.log(2), abs=1e-6)


def bins(across, down):
    """Two keypoints of one person: rows of x and of y."""
    return torch.tensor([across]), torch.tensor([down])


def test_x_and_y_of_bins_are_added():
    """A student that knows nothing: log 4 in x and log 2 in y for a sure target; log 2 and nothing for one sure of half of x."""
    logits = bins([[0.0] * 4] * 2, [[0.0] * 2] * 2)
    target = bins([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]])
    first = divergence(logits, supervision(target, [[True, False]]))
    assert first.item() == pytest.approx(math.log(4) + math.log(2))
    assert divergence(logits, supervision(target, [[False, True]])).item() == pytest.approx(math.log(2))
    both = divergence(logits, supervision(target))
    assert both.item() == pytest.approx((math.log(4) + 2 * math.log(2)) / 2)


def test_bins_of_equal_distributions_diverge_by_nothing():
    x, y = random_logits(2, 3, 12), random_logits(2, 3, 16, seed=2)
    target = tuple(torch.softmax(part.detach(), dim=2) for part in (x, y))
    assert abs(divergence((x, y), supervision(target)).item()) < 1e-6  # 28 float32 terms of 0.1


def test_masked_bins_have_exactly_no_gradient():
    x, y = random_logits(2, 3, 12), random_logits(2, 3, 16, seed=2)
    target = (random_target(2, 3, 12), random_target(2, 3, 16, seed=3))
    valid = torch.tensor([[True, False, True], [False, False, True]])
    target[0][0, 1] = float("nan")
    divergence((x, y), Supervision(target, valid)).backward()
    for part in (x, y):
        touched = part.grad.abs().sum(dim=2)
        assert (touched[~valid] == 0).all()
        assert (touched[valid] > 0).all()


def test_no_valid_bins_are_zero_with_zero_gradient():
    x, y = random_logits(2, 3, 12), random_logits(2, 3, 16, seed=2)
    loss = divergence((x, y), supervision((torch.zeros(2, 3, 12), torch.zeros(2, 3, 16)), [[False] * 3] * 2))
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all() and (y.grad == 0).all()
    assert x.grad.shape == (2, 3, 12)
