"""The loss: how far the student's distributions are from truth and teachers, averaged over what is known. No data, no schedule."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import huber_loss

from pipeline.skeletons import Skeleton

Counted = Callable[[torch.Tensor], torch.Tensor]
"""This process's number of valid pairs -> that number averaged over all processes, all of which call it equally often."""

MIDPOINTS = {"pelvis": ("left_hip", "right_hip"), "thorax": ("left_shoulder", "right_shoulder")}
"""Keypoints that lie half-way between two others by definition. MPII gives them so: in its validation split the median distance
from the middle is 0.006 of the head's size for both (rounding), where the upper neck's from the middle of the shoulders is 0.3."""


@dataclass(frozen=True)
class Supervision:
    """One source's targets for a batch, in the student's frame and keypoint order."""

    target: tuple[torch.Tensor, ...]
    """float distributions, each summing to 1 where valid: over maps (B, K, H, W), or over the bins of x (B, K, Wx) and of y (B, K, Hy)."""
    valid: torch.Tensor
    """bool (B, K): does the source know this keypoint of this person."""
    score: torch.Tensor | None = None
    """float (B, K), 0 to 1: the teacher's confidence; None for truth."""


def alone(count: torch.Tensor) -> torch.Tensor:
    """The `Counted` of a single process: the number itself."""
    return count


def divergence(logits: tuple[torch.Tensor, ...], supervision: Supervision, counted: Counted = alone) -> torch.Tensor:
    """Mean over valid (person, keypoint) pairs of KL(target || softmax(logits)) in nats; x and y of bins are added.

    Logits are shaped as the target. Zero, with zero gradient, where nothing is valid; pairs that are not valid have exactly no
    gradient. The sum over the pairs is divided by `counted` of their number: where processes average their gradients, that gives
    each the gradient of the joined batch.
    """
    return mean_over(pair_divergences(logits, supervision).sum(), supervision.valid, counted)


def pair_divergences(logits: tuple[torch.Tensor, ...], supervision: Supervision) -> torch.Tensor:
    """KL(target || softmax(logits)) in nats of each valid pair, (N,) in the order of `logits[supervision.valid]`."""
    valid = supervision.valid
    each = [_kl(part[valid], target[valid]) for part, target in zip(logits, supervision.target, strict=True)]
    return torch.stack(each).sum(dim=0)


def _kl(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    log_student = torch.log_softmax(logits.flatten(1).float(), dim=1)
    target = target.flatten(1)
    return -(target * log_student).sum(dim=1) - torch.special.entr(target).sum(dim=1)


def mean_over(total: torch.Tensor, valid: torch.Tensor, counted: Counted) -> torch.Tensor:
    """A sum over valid pairs divided by `counted` of their number; the sum, which is zero, where there are none anywhere."""
    count = counted(valid.sum().float())
    return total / torch.where(count > 0, count, torch.ones_like(count))


def loss_terms(
    logits: tuple[torch.Tensor, ...],
    truth: Supervision,
    teachers: dict[str, Supervision],
    weights: dict[str, float],
    shares: dict[str, torch.Tensor] | None = None,
    counted: Counted = alone,
) -> dict[str, torch.Tensor]:
    """`truth`, each teacher's name, and `total`: L of Khan et al. 2024 with per-term means (no batch-size effect).

    Without `shares` each teacher's term is the mean over its own valid pairs, and total = the sum of weights[name] x term.

    `shares`, (B, K) per teacher, hand the teachers' total weight W = the sum of their weights out per person and keypoint: over
    the pairs that at least one teacher knows, each teacher's term is the mean of share x KL (0 where it does not know the
    keypoint), and total = weights["truth"] x truth + W x the sum of the teachers' terms. No gradient reaches the shares.
    """
    terms = {"truth": divergence(logits, truth, counted)}
    parts = [weights["truth"] * terms["truth"]]
    if shares is None:
        for name, supervision in teachers.items():
            terms[name] = divergence(logits, supervision, counted)
            parts.append(weights[name] * terms[name])
    elif teachers:
        whole = sum(weights[name] for name in teachers)
        taught = torch.stack([supervision.valid for supervision in teachers.values()]).any(dim=0)
        for name, supervision in teachers.items():
            shared = shares[name].detach()[supervision.valid] * pair_divergences(logits, supervision)
            terms[name] = mean_over(shared.sum(), taught, counted)
            parts.append(whole * terms[name])
    return {"total": torch.stack(parts).sum(), **terms}


def known_by_any(truth: Supervision, teachers: dict[str, Supervision]) -> torch.Tensor:
    """Bool (B, K): does any source know this keypoint of this person."""
    return torch.stack([truth.valid, *(teacher.valid for teacher in teachers.values())]).any(dim=0)


def consistency(
    logits: tuple[torch.Tensor, ...],
    known: torch.Tensor,
    skeleton: Skeleton,
    sigma: float | tuple[float, float],
    counted: Counted = alone,
) -> torch.Tensor:
    """How far the student's MIDPOINTS lie from the middle of their two keypoints, by expected positions, in nats.

    Per axis z = distance / sigma costs z^2 / 2 up to 1 and |z| - 1/2 beyond; x and y are added; mean over the (person, midpoint)
    pairs of which all three keypoints are `known`, bool (B, K). With the standard deviation `sigma` of the labels (in pixels or
    bins, of x and y where they differ) z^2 / 2 is the divergence of two labels that far apart, so a weight of 1 is one of truth's;
    the linear part keeps maps with several peaks from outweighing everything. The gradient moves the midpoint alone, for the
    keypoints beside it are what more datasets label. Zero, with zero gradient, where the skeleton or the batch has no such pairs.
    """
    names = skeleton.keypoints
    there = [(point, *pair) for point, pair in MIDPOINTS.items() if {point, *pair} <= set(names)]
    point, left, right = ([skeleton.index(triple[i]) for triple in there] for i in range(3))
    valid = known[:, point] & known[:, left] & known[:, right]
    expected = [_expected(logits, k)[valid] for k in (point, left, right)]
    middle = (expected[1] + expected[2]).detach() / 2
    scale = torch.as_tensor(sigma, device=known.device)
    apart = huber_loss(expected[0] / scale, middle / scale, reduction="sum")
    return mean_over(apart, valid, counted)


def _expected(logits: tuple[torch.Tensor, ...], keypoints: list[int]) -> torch.Tensor:
    """Mean positions (B, len(keypoints), 2), as x and y, of the student's distributions, in pixels or bins."""
    chosen = [part[:, keypoints].float() for part in logits]
    if len(chosen) == 1:
        maps = torch.softmax(chosen[0].flatten(2), dim=2).view(chosen[0].shape)
        axes = [maps.sum(dim=2), maps.sum(dim=3)]
    else:
        axes = [torch.softmax(axis, dim=2) for axis in chosen]
    return torch.stack(
        [axis @ torch.arange(axis.shape[2], device=axis.device, dtype=axis.dtype) for axis in axes], dim=2
    )
