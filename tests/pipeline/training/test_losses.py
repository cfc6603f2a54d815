import math

import pytest
import torch

from pipeline.training.losses import Supervision, divergence, loss_terms
from pipeline.training.resample import normalised_targets
from pipeline.training.teacher_weights import AdaptiveShares, confidence_shares


def supervision(target, valid=None):
    """Return targets that are valid everywhere, from maps (B, K, H, W), or from a tuple of maps or of rows of bins."""
    arrays = target if isinstance(target, tuple) else (target,)
    known = torch.ones(arrays[0].shape[:2], dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Supervision(arrays, known)


def random_target(*shape, seed=0):
    (target,) = normalised_targets((torch.rand(*shape, generator=torch.Generator().manual_seed(seed)),))
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


def sure_of(pixels, valid=((True,),)):
    """Return a keypoint's target that is uniform over that many of four pixels: log(4 / pixels) nats from a uniform student."""
    return supervision((torch.arange(4) < pixels).float().view(1, 1, 1, 4) / pixels, valid)


def test_total_is_the_published_weighted_sum():
    """0.3 for the truth, 0.25 and 0.45 for the two teachers (Khan et al. 2024)."""
    logits = torch.zeros(1, 1, 1, 4)
    terms = loss_terms(
        (logits,), sure_of(1), {"coco": sure_of(2), "mpii": sure_of(4)}, {"truth": 0.3, "coco": 0.25, "mpii": 0.45}
    )
    assert terms["truth"].item() == pytest.approx(math.log(4))
    assert terms["coco"].item() == pytest.approx(math.log(2))
    assert terms["mpii"].item() == pytest.approx(0, abs=1e-6)
    assert terms["total"].item() == pytest.approx(0.3 * math.log(4) + 0.25 * math.log(2), abs=1e-6)


def bins(across, down):
    """Return rows of x and of y of two keypoints of one person."""
    return torch.tensor([across]), torch.tensor([down])


def test_x_and_y_of_bins_are_added():
    """A uniform student costs log 4 in x and log 2 in y for a certain target; log 2 and nothing for one uniform over half of x."""
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


def two_keypoints(valid, *rows):
    """Return targets of one person, two keypoints, over two pixels."""
    return supervision(torch.tensor(rows).view(1, 2, 1, 2), [valid])


def test_shares_hand_out_the_teachers_whole_weight():
    """With a student (1/2, 1/2) a certain target costs log 2. Keypoint 0: `a` sure and `b` undecided share 3/4 to 1/4; 1: only `b`, sure.

    Over two taught pairs `a` has 3/4 log 2 / 2, `b` (0 + log 2) / 2, each times 0.25 + 0.45.
    """
    truth = two_keypoints([False, False], [0.5, 0.5], [0.5, 0.5])
    a = two_keypoints([True, False], [1.0, 0.0], [1.0, 0.0])
    b = two_keypoints([True, True], [0.5, 0.5], [0.0, 1.0])
    shares = {"a": torch.tensor([[0.75, 0.0]]), "b": torch.tensor([[0.25, 1.0]])}
    weights = {"truth": 0.3, "a": 0.25, "b": 0.45}
    terms = loss_terms((torch.zeros(1, 2, 1, 2),), truth, {"a": a, "b": b}, weights, shares)
    assert terms["a"].item() == pytest.approx(0.375 * math.log(2))
    assert terms["b"].item() == pytest.approx(0.5 * math.log(2))
    assert terms["total"].item() == pytest.approx(0.7 * 0.875 * math.log(2))


def test_shares_leave_the_truth_as_it_is():
    """Truth is certain of one of four pixels (log 4); the only teacher is uniform over two (log 2) and has the whole weight."""
    terms = loss_terms(
        (torch.zeros(1, 1, 1, 4),),
        sure_of(1),
        {"a": sure_of(2)},
        {"truth": 0.3, "a": 0.7},
        {"a": torch.ones(1, 1)},
    )
    assert terms["truth"].item() == pytest.approx(math.log(4))
    assert terms["total"].item() == pytest.approx(0.3 * math.log(4) + 0.7 * math.log(2))


def test_without_teachers_shares_change_nothing():
    terms = loss_terms((torch.zeros(1, 1, 1, 4),), sure_of(1), {}, {"truth": 0.5}, {})
    assert terms.keys() == {"total", "truth"}
    assert terms["total"].item() == pytest.approx(0.5 * math.log(4))


def weightings(truth, teachers, features):
    adaptive = AdaptiveShares(teachers, features.shape[1])
    torch.nn.init.normal_(adaptive.importance.weight)
    return {
        "fixed": None,
        "confidence": confidence_shares(truth, teachers),
        "adaptive": adaptive(features, teachers),
    }


@pytest.mark.parametrize("weighting", ["fixed", "confidence", "adaptive"])
@pytest.mark.parametrize("shapes", [[(8, 6)], [(12,), (16,)]], ids=["maps", "bins"])
def test_what_is_neither_labelled_nor_taught_gets_exactly_no_gradient(shapes, weighting):
    """Return five keypoints of two people, known to all, to truth, to one teacher, to the other, and to none; unknown targets are NaN."""
    known = {
        "truth": [[True, True, False, False, False], [True, False, False, True, False]],
        "a": [[True, False, True, False, False], [False, True, False, False, False]],
        "b": [[True, False, False, True, False], [True, True, False, False, False]],
    }
    logits = tuple(random_logits(2, 5, *shape, seed=i) for i, shape in enumerate(shapes))
    sources = {}
    for seed, (name, valid) in enumerate(known.items(), 3):
        targets = tuple(random_target(2, 5, *shape, seed=seed) for shape in shapes)
        for target in targets:
            target[~torch.tensor(valid)] = float("nan")
        sources[name] = Supervision(targets, torch.tensor(valid), torch.full((2, 5), 0.5))
    truth, teachers = sources.pop("truth"), sources
    shares = weightings(truth, teachers, random_logits(2, 7).detach())[weighting]
    terms = loss_terms(logits, truth, teachers, {"truth": 0.3, "a": 0.25, "b": 0.45}, shares)
    terms["total"].backward()
    there = torch.stack([torch.tensor(valid) for valid in known.values()]).any(dim=0)
    for part in logits:
        touched = part.grad.flatten(2).abs().sum(dim=2)
        assert (touched[~there] == 0).all()
        assert (touched[there] > 0).all()
    assert there.tolist() == [[True, True, True, True, False], [True, True, False, True, False]]


@pytest.mark.parametrize("shared", [False, True])
def test_processes_with_unequal_counts_average_to_the_joined_batch(shared):
    """The averaged gradients of two halves equal those of the whole where each divides by the mean of both counts (5 and 2)."""
    logits, weights = random_logits(4, 3, 4, 4), {"truth": 0.3, "a": 0.7}
    valid = torch.tensor([[True] * 3, [True, True, False], [True, False, False], [False, True, False]])
    taught = torch.tensor([[True] * 3, [True] * 3, [False, False, True], [False] * 3])
    truth, teacher = random_target(4, 3, 4, 4), random_target(4, 3, 4, 4, seed=2)
    share = torch.rand(4, 3, generator=torch.Generator().manual_seed(3))

    def gradient(rows, counted):
        rows_logits = logits.detach()[rows].requires_grad_()
        loss_terms(
            (rows_logits,),
            Supervision((truth[rows],), valid[rows]),
            {"a": Supervision((teacher[rows],), taught[rows])},
            weights,
            {"a": share[rows]} if shared else None,
            counted,
        )["total"].backward()
        return rows_logits.grad

    counts = iter([valid.sum() / 2, taught.sum() / 2] * 2)
    halves = [gradient(slice(start, start + 2), lambda count: next(counts)) for start in (0, 2)]
    whole = gradient(slice(0, 4), lambda count: count)
    torch.testing.assert_close(torch.cat(halves) / 2, whole, rtol=0, atol=1e-7)


def test_counts_are_asked_for_where_nothing_is_valid_too():
    """Every process has to take part in a sum over processes: once for truth, once for each teacher."""
    nothing = supervision(torch.zeros(1, 1, 1, 4), [[False]])
    asked = []

    def counted(count):
        asked.append(count.item())
        return count + 0.5

    for shares in (None, {"a": torch.zeros(1, 1), "b": torch.zeros(1, 1)}):
        terms = loss_terms(
            (torch.zeros(1, 1, 1, 4),),
            nothing,
            {"a": nothing, "b": nothing},
            dict.fromkeys(("truth", "a", "b"), 1.0),
            shares,
            counted,
        )
        assert terms["total"].item() == 0
    assert asked == [0] * 6
