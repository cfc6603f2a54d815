"""The loss terms: divergences of the student's distributions from truth and from teachers, averaged over known keypoints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import huber_loss

from pipeline.pose.skeletons import Skeleton

CountReducer = Callable[[torch.Tensor], torch.Tensor]
"""Averages this process's number of valid pairs over all processes, all of which call it equally often."""

MIDPOINTS = {"pelvis": ("left_hip", "right_hip"), "thorax": ("left_shoulder", "right_shoulder")}
"""Keypoints that lie half-way between two others by definition. MPII defines them so: in its validation split the median distance
from the middle is 0.006 head sizes for both (rounding). For comparison, the upper neck is 0.3 from the middle of the shoulders."""


@dataclass(frozen=True)
class Supervision:
    """Targets of truth or of one teacher for a batch, in the student's frame and keypoint order."""

    target: tuple[torch.Tensor, ...]
    """float distributions, each summing to 1 where valid: maps (B, K, H, W), or bins of x (B, K, Wx) and of y (B, K, Hy)."""
    valid: torch.Tensor
    """bool (B, K): does truth, or the teacher, know this keypoint of this person?"""
    score: torch.Tensor | None = None
    """float (B, K), 0 to 1: confidence of the teacher; None for truth."""


def local_count(count: torch.Tensor) -> torch.Tensor:
    """Return the number itself: the `CountReducer` of a single process."""
    return count


def divergence(
    logits: tuple[torch.Tensor, ...], supervision: Supervision, reduce_count: CountReducer = local_count
) -> torch.Tensor:
    """Return the mean over valid (person, keypoint) pairs of KL(target || softmax(logits)) in nats; for bins, x and y are added.

    Logits have the shape of the target. The mean is zero, with zero gradient, where nothing is valid; pairs that are not valid get
    exactly no gradient. The sum over the pairs is divided by `reduce_count` of their number: where processes average their
    gradients, each then has the gradient of the whole batch.
    """
    return mean_over_valid(pair_divergences(logits, supervision).sum(), supervision.valid, reduce_count)


def pair_divergences(logits: tuple[torch.Tensor, ...], supervision: Supervision) -> torch.Tensor:
    """Return KL(target || softmax(logits)) in nats of each of the N valid pairs, (N,), in the order of `logits[supervision.valid]`."""
    valid = supervision.valid
    axes = [_kl(part[valid], target[valid]) for part, target in zip(logits, supervision.target, strict=True)]
    return torch.stack(axes).sum(dim=0)


def _kl(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    log_student = torch.log_softmax(logits.flatten(1).float(), dim=1)
    target = target.flatten(1)
    return -(target * log_student).sum(dim=1) - torch.special.entr(target).sum(dim=1)


def mean_over_valid(total: torch.Tensor, valid: torch.Tensor, reduce_count: CountReducer) -> torch.Tensor:
    """Divide the sum over valid pairs by `reduce_count` of their number. Where no process has any, return the sum, which is zero."""
    count = reduce_count(valid.sum().float())
    return total / torch.where(count > 0, count, torch.ones_like(count))


def loss_terms(
    logits: tuple[torch.Tensor, ...],
    truth: Supervision,
    teachers: dict[str, Supervision],
    weights: dict[str, float],
    shares: dict[str, torch.Tensor] | None = None,
    reduce_count: CountReducer = local_count,
) -> dict[str, torch.Tensor]:
    """Return the terms of the loss by name, `truth` and each teacher, and their weighted sum `total`, all in nats.

    This is the loss of Khan et al. 2024 with a mean per term, so that it does not depend on the size of the batch.

    Without `shares` each teacher's term is the mean over its own valid pairs, and total is the sum of weights[name] x term.

    `shares`, (B, K) per teacher, distribute the teachers' total weight W, the sum of their weights, for each person and keypoint.
    Over the pairs that at least one teacher knows, a teacher's term is then the mean of share x KL (0 where it does not know the
    keypoint), and total = weights["truth"] x truth + W x the sum of the teachers' terms. No gradient reaches the shares.
    """
    terms = {"truth": divergence(logits, truth, reduce_count)}
    parts = [weights["truth"] * terms["truth"]]
    if shares is None:
        for name, supervision in teachers.items():
            terms[name] = divergence(logits, supervision, reduce_count)
            parts.append(weights[name] * terms[name])
    elif teachers:
        teachers_weight = sum(weights[name] for name in teachers)
        taught = torch.stack([supervision.valid for supervision in teachers.values()]).any(dim=0)
        for name, supervision in teachers.items():
            shared = shares[name].detach()[supervision.valid] * pair_divergences(logits, supervision)
            terms[name] = mean_over_valid(shared.sum(), taught, reduce_count)
            parts.append(teachers_weight * terms[name])
    return {"total": torch.stack(parts).sum(), **terms}


def known_by_any(truth: Supervision, teachers: dict[str, Supervision]) -> torch.Tensor:
    """Return whether truth or any teacher knows this keypoint of this person, bool (B, K)."""
    return torch.stack([truth.valid, *(teacher.valid for teacher in teachers.values())]).any(dim=0)


def consistency(
    logits: tuple[torch.Tensor, ...],
    known: torch.Tensor,
    skeleton: Skeleton,
    sigma: float | tuple[float, float],
    reduce_count: CountReducer = local_count,
) -> torch.Tensor:
    """Return the distance of the student's MIDPOINTS from the middle of their two keypoints, in nats, by expected positions.

    Per axis z = distance / sigma costs z^2 / 2 up to z = 1 and |z| - 1/2 beyond, x and y are added, and the mean is over the
    (person, midpoint) pairs of which all three keypoints are `known`, bool (B, K). `sigma` is the standard deviation of the labels
    in pixels or bins, one number or one for x and one for y. z^2 / 2 is then the divergence of two labels that far apart, so a
    weight of 1 counts as much as one of truth's terms; the linear part keeps maps with several peaks from dominating the loss. The
    gradient moves the midpoint alone, because more datasets label the two keypoints beside it. The term is zero, with zero
    gradient, where the skeleton or the batch has no such pairs.
    """
    names = skeleton.keypoints
    triples = [(point, *pair) for point, pair in MIDPOINTS.items() if {point, *pair} <= set(names)]
    point, left, right = ([skeleton.index(triple[i]) for triple in triples] for i in range(3))
    valid = known[:, point] & known[:, left] & known[:, right]
    expected = [_expected(logits, k)[valid] for k in (point, left, right)]
    middle = (expected[1] + expected[2]).detach() / 2
    scale = torch.as_tensor(sigma, device=known.device)
    apart = huber_loss(expected[0] / scale, middle / scale, reduction="sum")
    return mean_over_valid(apart, valid, reduce_count)


def _expected(logits: tuple[torch.Tensor, ...], keypoints: list[int]) -> torch.Tensor:
    """Return the mean positions (B, len(keypoints), 2), x and y in pixels or bins, of the student's distributions."""
    selected = [part[:, keypoints].float() for part in logits]
    if len(selected) == 1:
        maps = torch.softmax(selected[0].flatten(2), dim=2).view(selected[0].shape)
        axes = [maps.sum(dim=2), maps.sum(dim=3)]
    else:
        axes = [torch.softmax(axis, dim=2) for axis in selected]
    return torch.stack(
        [axis @ torch.arange(axis.shape[2], device=axis.device, dtype=axis.dtype) for axis in axes], dim=2
    )
