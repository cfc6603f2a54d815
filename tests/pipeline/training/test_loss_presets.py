import math

import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.training.loss_presets import TERMS, refuse_other_teachers, term_weights
from pipeline.training.losses import Supervision, loss_terms


def pixels(count, people, known):
    """Return targets of people with one keypoint each: uniform over `count` of 8 pixels, log(8 / count) nats from a uniform student."""
    target = ((torch.arange(8) < count).float() / count).view(1, 1, 1, 8).expand(people, -1, -1, -1)
    return Supervision((target,), (torch.arange(people) < known)[:, None])


@pytest.mark.parametrize("people", [4, 12])
@pytest.mark.parametrize(
    ("preset", "progress", "expected"),
    [
        ("paper", 0.0, 0.3 * 3 + 0.25 * 2 + 0.45 * 1),
        ("paper", 0.75, 0.3 * 3 + 0.25 * 2 + 0.45 * 1),
        ("reference-code", 0.0, 1.3 * 3 + 0.5 * 2 + 0.9 * 1),
        ("reference-code", 0.75, 1.3 * 3 + 0.5 * 2 + 0.225 * 1),
        ("reference-code", 1.0, 1.3 * 3 + 0.5 * 2),
        ("reference-balance", 0.0, 0.19 * 3 + 0.5 * 2 + 0.9 * 1),
        ("reference-balance", 0.75, 0.19 * 3 + 0.5 * 2 + 0.225 * 1),
    ],
)
def test_loss_of_a_batch_by_hand(preset, progress, expected, people):
    """Truth costs 3 log 2 a keypoint, COCO's teacher 2 log 2, MPII's log 2, whatever their numbers of valid pairs and people."""
    teachers = {"coco": pixels(2, people, 2), "mpii": pixels(4, people, 3)}
    weights = term_weights(preset, progress)
    terms = loss_terms((torch.zeros(people, 1, 1, 8),), pixels(1, people, 4), teachers, weights)
    assert terms["total"].item() == pytest.approx(expected * math.log(2), rel=1e-6)  # float32
    assert tuple(weights) == TERMS


def test_balance_is_what_the_public_codes_reductions_leave():
    """The code's own reductions of one nat per axis: truth is summed over 64 people and 21 keypoints and averaged over bins and 21."""
    people, count = 64, 21
    truth = 1.3 * sum(people * count * (1 / bins) / count for bins in (384, 512)) / 2
    weights = term_weights("reference-balance", 0.0)
    assert weights["truth"] == pytest.approx(truth, abs=0.005)
    assert weights["truth"] / sum(weights.values()) == pytest.approx(0.12, abs=0.005)


def test_presets_are_for_the_teachers_they_name():
    refuse_other_teachers("paper", ["mpii", "coco"], "here")
    refuse_other_teachers("reference-code", ["coco"], "here")
    with pytest.raises(UserError, match="here: preset `paper` weights the teachers coco and mpii, found aic"):
        refuse_other_teachers("paper", ["coco", "aic"], "here")
    with pytest.raises(
        UserError, match="unknown preset `papers`: expected one of paper, reference-code, reference-balance"
    ):
        refuse_other_teachers("papers", [], "here")
    with pytest.raises(UserError, match="found truth"):
        refuse_other_teachers("paper", ["truth"], "here")
