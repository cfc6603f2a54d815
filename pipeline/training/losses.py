"""The loss terms: divergences of the student's distributions from truth and from teachers, averaged over known keypoints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

CountReducer = Callable[[torch.Tensor], torch.Tensor]
"""Averages this process's number of valid pairs over all processes, all of which call it equally often."""


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
