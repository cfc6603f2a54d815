import math

import pytest
import torch

from pipeline.training.losses import Supervision, loss_terms
from pipeline.training.teacher_weights import MIN_PROBABILITY, AdaptiveShares, confidence_shares


def keypoints(rows, valid=None, score=None):
    """Return targets of one person's keypoints over a row of pixels."""
    target = torch.tensor(rows)[None, :, None, :]
    known = torch.ones(1, len(rows), dtype=torch.bool) if valid is None else torch.tensor([valid])
    return Supervision((target,), known, None if score is None else torch.tensor([score]))


NO_TRUTH = keypoints([[0.5, 0.5]], [False])
SURE = keypoints([[1.0, 0.0]])
"""A target that is certain of the first of two pixels."""


def values(shares):
    return {name: share[0].tolist() for name, share in shares.items()}


def test_a_teacher_that_is_closer_to_the_truth_has_a_larger_share():
    """The errors are -log p of the true pixel, so their softmax is as 1 / p: 4/3 to 4, or 1/4 to 3/4. The shares are the rest."""
    teachers = {"a": keypoints([[0.75, 0.25]]), "b": keypoints([[0.25, 0.75]])}
    assert values(confidence_shares(SURE, teachers)) == {"a": [pytest.approx(0.75)], "b": [pytest.approx(0.25)]}


def test_three_teachers():
    """1 / p = 2, 4, 4 of 10: a_t = (1 - 0.2) / 2, (1 - 0.4) / 2, (1 - 0.4) / 2."""
    rows = {"a": [0.5, 0.5], "b": [0.25, 0.75], "c": [0.25, 0.75]}
    shares = values(confidence_shares(SURE, {name: keypoints([row]) for name, row in rows.items()}))
    assert shares == {"a": [pytest.approx(0.4)], "b": [pytest.approx(0.3)], "c": [pytest.approx(0.3)]}


def test_soft_truth_is_compared_by_divergence():
    """Truth and `a` are (1/2, 1/2), error 0; `b` is (3/4, 1/4): (log 2/3 + log 2) / 2 = log(4/3) / 2. Softmax: 1 to root 4/3."""
    teachers = {"a": keypoints([[0.5, 0.5]]), "b": keypoints([[0.75, 0.25]])}
    blame = math.sqrt(4 / 3) / (1 + math.sqrt(4 / 3))
    shares = values(confidence_shares(keypoints([[0.5, 0.5]]), teachers))
    assert shares == {"a": [pytest.approx(blame)], "b": [pytest.approx(1 - blame)]}


def test_errors_of_both_axes_of_bins_add():
    """Chances of the true bin 1/2 in x and 1/2 in y: 1 / p = 4, against 4/3 and 1."""

    def bins(x, y):
        return Supervision((torch.tensor([[x]]), torch.tensor([[y]])), torch.tensor([[True]]))

    teachers = {"a": bins([0.5, 0.5], [0.5, 0.5]), "b": bins([0.75, 0.25], [1.0, 0.0])}
    shares = values(confidence_shares(bins([1.0, 0.0], [1.0, 0.0]), teachers))
    assert shares == {"a": [pytest.approx(0.25)], "b": [pytest.approx(0.75)]}


def test_a_target_that_excludes_the_truth_counts_as_min_probability():
    """The softmax of the errors is in the ratio 1 / MIN_PROBABILITY to 1."""
    teachers = {"a": keypoints([[1.0, 0.0]]), "b": keypoints([[0.0, 1.0]])}
    shares = values(confidence_shares(SURE, teachers))
    assert shares["b"] == [pytest.approx(MIN_PROBABILITY / (1 + MIN_PROBABILITY), rel=1e-2)]  # 1 - blame in float32


def test_scores_decide_where_there_is_no_truth():
    """The shares of two are as their scores, 0.9 to 0.3. Of three the softmax is as 1 / score = 1, 2, 2: (1 - 1/5) / 2, (1 - 2/5) / 2."""
    same = [[0.5, 0.5]]
    two = {"a": keypoints(same, score=[0.9]), "b": keypoints(same, score=[0.3])}
    assert values(confidence_shares(NO_TRUTH, two)) == {"a": [pytest.approx(0.75)], "b": [pytest.approx(0.25)]}
    three = {"a": keypoints(same), "b": keypoints(same, score=[0.5]), "c": keypoints(same, score=[0.5])}
    assert values(confidence_shares(NO_TRUTH, three)) == {
        "a": [pytest.approx(0.4)],
        "b": [pytest.approx(0.3)],
        "c": [pytest.approx(0.3)],
    }


def test_truth_beats_scores():
    """The truth decides, however confident the wrong teacher is."""
    teachers = {"a": keypoints([[0.75, 0.25]], score=[0.1]), "b": keypoints([[0.25, 0.75]], score=[1.0])}
    assert values(confidence_shares(SURE, teachers))["a"] == [pytest.approx(0.75)]


def test_who_alone_knows_a_keypoint_has_all_say():
    """The keypoints are known to both, to `a`, to `b`, and to none; truth is known for the first two."""
    nan = [float("nan")] * 2
    truth = keypoints([[1.0, 0.0], [1.0, 0.0], nan, nan], [True, True, False, False])
    a = keypoints([[0.75, 0.25], [0.0, 1.0], nan, nan], [True, True, False, False], [0.5] * 4)
    b = keypoints([[0.25, 0.75], nan, [0.5, 0.5], nan], [True, False, True, False], [0.1] * 4)
    shares = values(confidence_shares(truth, {"a": a, "b": b}))
    assert shares["a"] == [pytest.approx(0.75), 1, 0, 0]
    assert shares["b"] == [pytest.approx(0.25), 0, 1, 0]


def batch(people, seed=0, count=3):
    """Return random targets of three teachers over 8 x 6 maps, half of them known, and truth for about as many."""
    random = torch.Generator().manual_seed(seed)

    def source():
        target = torch.softmax(3 * torch.randn(people, 5, 48, generator=random), dim=2).view(people, 5, 8, 6)
        valid = torch.rand(people, 5, generator=random) < 0.5
        return Supervision((target,), valid, torch.rand(people, 5, generator=random))

    return source(), {name: source() for name in "abc"[:count]}


def test_shares_of_those_who_know_sum_to_one():
    truth, teachers = batch(50)
    adaptive = AdaptiveShares(teachers, 7)
    torch.nn.init.normal_(adaptive.importance.weight)
    taught = torch.stack([teacher.valid for teacher in teachers.values()]).any(dim=0)
    for shares in (confidence_shares(truth, teachers), adaptive(torch.randn(50, 7), teachers)):
        whole = torch.stack(list(shares.values()))
        torch.testing.assert_close(whole.sum(dim=0), taught.float(), rtol=0, atol=1e-6)  # a few roundings of float32
        for share, teacher in zip(shares.values(), teachers.values(), strict=True):
            assert (share[~teacher.valid] == 0).all()
            assert (share >= 0).all()


def test_confidence_has_no_gradient_and_changes_no_target():
    truth, teachers = batch(4)
    target = teachers["a"].target[0].clone().requires_grad_()
    teachers["a"] = Supervision((target,), teachers["a"].valid, teachers["a"].score)
    before = teachers["a"].score.clone()
    assert not any(share.requires_grad for share in confidence_shares(truth, teachers).values())
    assert torch.equal(teachers["a"].score, before)
    assert confidence_shares(truth, {}) == {}


def test_untaught_adapter_shares_equally():
    _, teachers = batch(50)
    shares = AdaptiveShares(teachers, 7)(torch.randn(50, 7), teachers)
    knowing = torch.stack([teacher.valid for teacher in teachers.values()]).sum(dim=0)
    torch.testing.assert_close(shares["b"], teachers["b"].valid / knowing.clamp(min=1))


def test_mixture_loss_by_hand():
    """Truth the first pixel, targets (3/4, 1/4) and (1/4, 3/4), shares 1/2: the mixture gives it 1/2, log 2 nats; 1/4 and 3/4: 3/8.

    A second keypoint, which one teacher alone knows, and a third without truth, are no business of the mixture.
    """
    none = [0.5, 0.5]
    truth = keypoints([[1.0, 0.0], [1.0, 0.0], none], [True, True, False])
    teachers = {
        "a": keypoints([[0.75, 0.25], none, none]),
        "b": keypoints([[0.25, 0.75], [float("nan")] * 2, none], [True, False, True]),
    }
    adaptive = AdaptiveShares(teachers, 2)
    equal = adaptive(torch.tensor([[1.0, 2.0]]), teachers)
    assert adaptive.loss(equal, truth, teachers).item() == pytest.approx(math.log(2))
    uneven = {"a": torch.tensor([[0.25, 1.0, 0.5]]), "b": torch.tensor([[0.75, 0.0, 0.5]])}
    assert adaptive.loss(uneven, truth, teachers).item() == pytest.approx(math.log(8 / 3))
    assert adaptive.loss(uneven, truth, teachers, lambda count: count * 2).item() == pytest.approx(math.log(8 / 3) / 2)


def test_mixture_of_those_who_know():
    """Truth and mixture both (1/2, 1/2): nothing is lost; a third teacher that does not know it has no part in it."""
    teachers = {
        "a": keypoints([[0.75, 0.25]]),
        "b": keypoints([[0.25, 0.75]]),
        "c": keypoints([[float("nan")] * 2], [False]),
    }
    adaptive = AdaptiveShares(teachers, 2)
    equal = adaptive(torch.tensor([[1.0, 2.0]]), teachers)
    assert adaptive.loss(equal, keypoints([[0.5, 0.5]]), teachers).item() == pytest.approx(0, abs=1e-6)


def test_neither_sides_gradient_reaches_the_other():
    truth, teachers = batch(6)
    student = torch.nn.Conv2d(3, 7, 1)
    head = torch.nn.Conv2d(7, 5, 1)
    adaptive = AdaptiveShares(teachers, 7)
    torch.nn.init.normal_(adaptive.importance.weight)
    features = student(torch.randn(6, 3, 8, 6))
    shares = adaptive(features.amax(dim=(2, 3)), teachers)
    weights = dict.fromkeys(("truth", "a", "b", "c"), 1.0)

    loss_terms((head(features),), truth, teachers, weights, shares)["total"].backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in adaptive.parameters())
    assert student.weight.grad.abs().sum() > 0

    for module in (student, head):
        module.zero_grad(set_to_none=True)
    adaptive.loss(shares, truth, teachers).backward()
    assert all(parameter.grad is None for module in (student, head) for parameter in module.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in adaptive.parameters())


def test_without_a_pair_to_judge_the_adapter_gets_zero_gradients():
    """The gradient is zero, not None, because processes that average gradients wait for each other's."""
    truth, teachers = batch(6, count=1)
    adaptive = AdaptiveShares(teachers, 7)
    loss = adaptive.loss(adaptive(torch.randn(6, 7), teachers), truth, teachers)
    loss.backward()
    assert loss.item() == 0
    assert all((parameter.grad == 0).all() for parameter in adaptive.parameters())


def expertise(people, seed, bins):
    """Return features that differ for even and odd people; `a` is right on even people and a pixel off on odd ones, `b` the opposite."""
    random = torch.Generator().manual_seed(seed)
    even = torch.arange(people) % 2 == 0
    features = torch.randn(people, 6, generator=random)
    features[:, 0] = torch.where(even, 2.0, -2.0)
    at = torch.randint(2, 6, (people, 3, 2), generator=random)
    valid = torch.ones(people, 3, dtype=torch.bool)

    def sure_at(where):
        x, y = torch.eye(8)[where[..., 0]], torch.eye(8)[where[..., 1]]
        return Supervision((x, y) if bins else (y[..., :, None] * x[..., None, :],), valid, torch.ones(people, 3))

    off = at + torch.tensor([1, 0])
    right = even[:, None, None]
    return (
        even,
        features,
        sure_at(at),
        {"a": sure_at(torch.where(right, at, off)), "b": sure_at(torch.where(right, off, at))},
    )


@pytest.mark.parametrize("bins", [False, True], ids=["maps", "bins"])
def test_adapter_learns_who_is_right_on_whom(bins):
    """Trained by its own loss alone, it gives the weight of each person, on new people as well, to the teacher that is right."""
    torch.manual_seed(0)
    _, features, truth, teachers = expertise(64, 1, bins)
    adaptive = AdaptiveShares(teachers, 6)
    optimizer = torch.optim.AdamW(adaptive.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        adaptive.loss(adaptive(features, teachers), truth, teachers).backward()
        optimizer.step()
    even, features, _, teachers = expertise(64, 2, bins)
    share = adaptive(features, teachers)["a"].mean(dim=1)
    assert share[even].min() > 0.9
    assert share[~even].max() < 0.1
