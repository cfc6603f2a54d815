"""Weights of the teachers for each keypoint of each person: from their confidence, or learned from the student's features.

Both give shares: numbers from 0 to 1 that distribute the teachers' total weight (pipeline.training.losses.loss_terms).
"""

from collections.abc import Iterable

import torch
from torch import nn

from pipeline.training.losses import CountReducer, Supervision, local_count, mean_over_valid

MIN_PROBABILITY = 1e-4
"""Probabilities and scores are clamped to at least this. A stored target is 0 where the teacher gave less than half a 255th of its
peak, which for a peak of SimCC's width is about this probability."""


def confidence_shares(truth: Supervision, teachers: dict[str, Supervision]) -> dict[str, torch.Tensor]:
    """Return each teacher's share (B, K) by its confidence, without gradient: CA-MKD (Zhang et al. 2022).

    Over the T teachers that know a person's keypoint the share is a_t = (1 - softmax_t(error_t)) / (T - 1), which sums to 1. It is
    1 for a single teacher, and 0 for a teacher that does not know the keypoint. The error is in nats. Where truth is known it is
    KL(truth || target), which differs from the paper's cross-entropy by a term that is the same for all teachers. Elsewhere it is
    -log(score), so that the shares of two teachers are in the ratio of their scores. A teacher without scores has a score of 1.
    """
    if not teachers:
        return {}
    with torch.no_grad():
        knows = torch.stack([teacher.valid for teacher in teachers.values()])
        errors = torch.stack([_error(truth, teacher) for teacher in teachers.values()])
        error_shares = torch.softmax(errors.masked_fill(~knows, torch.finfo(errors.dtype).min), dim=0)
        others = knows.sum(dim=0) - 1
        shares = torch.where(others > 0, (1 - error_shares) / others.clamp(min=1), 1.0) * knows
    return dict(zip(teachers, shares, strict=True))


def _error(truth: Supervision, teacher: Supervision) -> torch.Tensor:
    """Return the teacher's error (B, K) in nats, see `confidence_shares`."""
    ones = torch.ones(teacher.valid.shape, device=teacher.valid.device)
    score = ones if teacher.score is None else teacher.score.float()
    error = -score.clamp(MIN_PROBABILITY, 1).log()
    both = truth.valid & teacher.valid
    error[both] = _divergence([part[both] for part in truth.target], [part[both] for part in teacher.target])
    return error


def _divergence(truth: list[torch.Tensor], predicted: list[torch.Tensor]) -> torch.Tensor:
    """Return KL(truth || predicted) in nats of N pairs of distributions, (N,); x and y of bins are added."""
    axes = [
        -(p * q.clamp(min=MIN_PROBABILITY).log()).flatten(1).sum(dim=1) - torch.special.entr(p).flatten(1).sum(dim=1)
        for p, q in zip(truth, predicted, strict=True)
    ]
    return torch.stack(axes).sum(dim=0)


class AdaptiveShares(nn.Module):
    """Teachers' shares learned from a person's features: AMTML-KD (Liu et al. 2020).

    importance_t = v . (factor_t * features), and the shares are its softmax over the teachers t. `factor_t` is the teacher's
    learned latent representation; `features` are the student's, pooled over the crop and normalised. The shares are equal in the
    beginning. This module learns from `loss` alone: how well the mixture of the teachers' targets predicts the truth. The paper
    trains it with the student's own loss, which is smallest where the teacher that the student already agrees with gets all the
    weight. No gradient passes between this module and the student. Initial weights are drawn from torch's global random stream.
    """

    def __init__(self, teachers: Iterable[str], channels: int) -> None:
        super().__init__()
        self.teachers = tuple(teachers)
        self.norm = nn.LayerNorm(channels)
        self.factors = nn.Parameter(torch.randn(len(self.teachers), channels))
        self.importance = nn.Linear(channels, 1, bias=False)
        nn.init.zeros_(self.importance.weight)

    def forward(self, pooled: torch.Tensor, teachers: dict[str, Supervision]) -> dict[str, torch.Tensor]:
        """Return the shares (B, K) by teacher from pooled features (B, channels).

        They sum to 1 where at least one teacher knows the keypoint, and are 0 for a teacher that does not know it.
        """
        features = self.norm(pooled.detach().float())
        importance = self.importance(features[:, None] * self.factors)
        knows = torch.stack([teachers[name].valid for name in self.teachers], dim=1)
        masked = importance.masked_fill(~knows, torch.finfo(importance.dtype).min)
        shares = torch.softmax(masked, dim=1) * knows
        return dict(zip(self.teachers, shares.unbind(dim=1), strict=True))

    def loss(
        self,
        shares: dict[str, torch.Tensor],
        truth: Supervision,
        teachers: dict[str, Supervision],
        reduce_count: CountReducer = local_count,
    ) -> torch.Tensor:
        """Return the mean of KL(truth || sum of share x target) in nats over labelled pairs that at least two teachers know.

        For bins each axis has its own mixture, and x and y are added. Zero, with zero gradient, where there are no such pairs.
        """
        knows = torch.stack([teachers[name].valid for name in self.teachers])
        compared = truth.valid & (knows.sum(dim=0) > 1)
        mixtures = []
        for axis, labels in enumerate(truth.target):
            mixture = torch.zeros_like(labels[compared])
            for name in self.teachers:
                known = teachers[name].valid[compared].view(-1, *[1] * (mixture.ndim - 1))
                target = torch.where(known, teachers[name].target[axis][compared], 0.0)
                mixture = mixture + shares[name][compared].view(known.shape) * target
            mixtures.append(mixture)
        divergences = _divergence([labels[compared] for labels in truth.target], mixtures)
        return mean_over_valid(divergences.sum(), compared, reduce_count)
