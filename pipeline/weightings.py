"""How teachers share out their say about each keypoint of each person: by their confidence, or as learned from the student's features."""

from collections.abc import Iterable

import torch
from torch import nn

from pipeline.losses import Counted, Supervision, alone, mean_over

FLOOR = 1e-4
"""Probabilities, and scores, below this count as this: a stored target is 0 where the teacher gave less than half a 255th of its
peak, which for a peak of SimCC's width is about this much."""


def confidence_shares(truth: Supervision, teachers: dict[str, Supervision]) -> dict[str, torch.Tensor]:
    """Each teacher's share (B, K) of the teachers' say, CA-MKD (Zhang et al. 2022), without gradient.

    Over the T teachers that know a person's keypoint a_t = (1 - softmax_t(error_t)) / (T - 1), which sums to 1; 1 for a single
    teacher, 0 for one that does not know it. The error is in nats: where there is truth KL(truth || target), which differs from
    the paper's cross-entropy by what is the same for all teachers; elsewhere -log(score), so that two teachers share in the
    ratio of their scores. A teacher without scores counts as sure.
    """
    if not teachers:
        return {}
    with torch.no_grad():
        knows = torch.stack([teacher.valid for teacher in teachers.values()])
        errors = torch.stack([_error(truth, teacher) for teacher in teachers.values()])
        blame = torch.softmax(errors.masked_fill(~knows, torch.finfo(errors.dtype).min), dim=0)
        others = knows.sum(dim=0) - 1
        shares = torch.where(others > 0, (1 - blame) / others.clamp(min=1), 1.0) * knows
    return dict(zip(teachers, shares, strict=True))


def _error(truth: Supervision, teacher: Supervision) -> torch.Tensor:
    sure = torch.ones(teacher.valid.shape, device=teacher.valid.device)
    score = sure if teacher.score is None else teacher.score.float()
    error = -score.clamp(FLOOR, 1).log()
    both = truth.valid & teacher.valid
    error[both] = _surprise([part[both] for part in truth.target], [part[both] for part in teacher.target])
    return error


def _surprise(truth: list[torch.Tensor], predicted: list[torch.Tensor]) -> torch.Tensor:
    """KL(truth || predicted) in nats of N pairs, (N,); x and y of bins are added."""
    each = [
        -(p * q.clamp(min=FLOOR).log()).flatten(1).sum(dim=1) - torch.special.entr(p).flatten(1).sum(dim=1)
        for p, q in zip(truth, predicted, strict=True)
    ]
    return torch.stack(each).sum(dim=0)


class AdaptiveShares(nn.Module):
    """Teachers' shares from a person's features, AMTML-KD (Liu et al. 2020): importance_t = v . (factor_t * features), softmax over t.

    `factor_t` is the teacher's learned latent representation, `features` the student's, pooled over the picture and normalised.
    Shares are equal until it has learned. It learns from `loss` alone, how well the mixture of the teachers' targets predicts the
    truth: the paper trains it with the student's own loss, which is least where all say is given to the teacher that the student
    already agrees with. Neither side's gradient reaches the other. Weights are drawn from torch's global stream.
    """

    def __init__(self, teachers: Iterable[str], channels: int) -> None:
        super().__init__()
        self.teachers = tuple(teachers)
        self.norm = nn.LayerNorm(channels)
        self.factors = nn.Parameter(torch.randn(len(self.teachers), channels))
        self.importance = nn.Linear(channels, 1, bias=False)
        nn.init.zeros_(self.importance.weight)

    def forward(self, pooled: torch.Tensor, teachers: dict[str, Supervision]) -> dict[str, torch.Tensor]:
        """Shares (B, K) per teacher from pooled features (B, channels): 1 in all where any knows the keypoint, 0 for who does not."""
        features = self.norm(pooled.detach().float())
        importance = self.importance(features[:, None] * self.factors)
        knows = torch.stack([teachers[name].valid for name in self.teachers], dim=1)
        among = importance.masked_fill(~knows, torch.finfo(importance.dtype).min)
        shares = torch.softmax(among, dim=1) * knows
        return dict(zip(self.teachers, shares.unbind(dim=1), strict=True))

    def loss(
        self,
        shares: dict[str, torch.Tensor],
        truth: Supervision,
        teachers: dict[str, Supervision],
        counted: Counted = alone,
    ) -> torch.Tensor:
        """Mean of KL(truth || sum of share x target) in nats over labelled pairs that at least two teachers know.

        Bins are mixed axis by axis, and x and y added. Zero, with zero gradient, where there are no such pairs.
        """
        knows = torch.stack([teachers[name].valid for name in self.teachers])
        judged = truth.valid & (knows.sum(dim=0) > 1)
        mixtures = []
        for part, labels in enumerate(truth.target):
            mixture = torch.zeros_like(labels[judged])
            for name in self.teachers:
                known = teachers[name].valid[judged].view(-1, *[1] * (mixture.ndim - 1))
                target = torch.where(known, teachers[name].target[part][judged], 0.0)
                mixture = mixture + shares[name][judged].view(known.shape) * target
            mixtures.append(mixture)
        surprise = _surprise([part[judged] for part in truth.target], mixtures)
        return mean_over(surprise.sum(), judged, counted)
