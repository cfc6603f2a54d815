"""The loss: how far the student's distributions are from truth and teachers, averaged over what is known. No data, no schedule."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Supervision:
    """One source's targets for a batch, in the student's frame and keypoint order."""

    target: tuple[torch.Tensor, ...]
    """float distributions, each summing to 1 where valid: over maps (B, K, H, W), or over the bins of x (B, K, Wx) and of y (B, K, Hy)."""
    valid: torch.Tensor
    """bool (B, K): does the source know this keypoint of this person."""


def divergence(logits: tuple[torch.Tensor, ...], supervision: Supervision) -> torch.Tensor:
    """Mean over valid (person, keypoint) pairs of KL(target || softmax(logits)) in nats; x and y of bins are added.

    Logits are shaped as the target. Zero, with zero gradient, where nothing is valid; pairs that are not valid have exactly no
    gradient.
    """
    valid = supervision.valid
    if not valid.any():
        return torch.stack([part.sum() * 0.0 for part in logits]).sum()
    each = [_kl(part[valid], target[valid]) for part, target in zip(logits, supervision.target, strict=True)]
    return torch.stack(each).sum(dim=0).mean()


def _kl(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    log_student = torch.log_softmax(logits.flatten(1).float(), dim=1)
    target = target.flatten(1)
    return -(target * log_student).sum(dim=1) - torch.special.entr(target).sum(dim=1)


def loss_terms(
    logits: tuple[torch.Tensor, ...],
    truth: Supervision,
    teachers: dict[str, Supervision],
    weights: dict[str, float],
) -> dict[str, torch.Tensor]:
    """`truth`, each teacher's name, and `total` = weighted sum; L of Khan et al. 2024 with per-term means (no batch-size effect)."""
    terms = {"truth": divergence(logits, truth)}
    terms |= {name: divergence(logits, supervision) for name, supervision in teachers.items()}
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {"total": total, **terms}
