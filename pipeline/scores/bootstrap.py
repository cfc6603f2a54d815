"""Bootstrap over pictures: how far a score would move on other pictures of the same kind. Knows no measure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 95.0
"""Percent of the resamples that an interval spans."""


@dataclass(frozen=True)
class Resamples:
    """B draws with replacement of as many pictures as there are, kept as how often each was drawn (Efron 1979).

    Pictures and not people are drawn: average precision does not add up over people, and people in one picture share its
    light, crowd and photographer. Two models scored on the same resamples are compared pair by pair.
    """

    image_id: np.ndarray
    """int64 (I,): the pictures, sorted."""
    counts: np.ndarray
    """int64 (B, I)."""

    def of(self, image_id: np.ndarray) -> np.ndarray:
        """Int64 (B, N): how often the picture of each of N rows was drawn; ValueError for a picture that is not among them."""
        at = np.searchsorted(self.image_id, image_id)
        if len(image_id) and not (at.max(initial=0) < len(self.image_id) and (self.image_id[at] == image_id).all()):
            raise ValueError("a row's picture is not among those that are resampled")
        return self.counts[:, at]


@dataclass(frozen=True)
class Score:
    """A score, and the same on each resample."""

    value: float
    again: np.ndarray
    """float64 (B,); empty where the score is not resampled."""

    @property
    def interval(self) -> tuple[float, float]:
        """Its LEVEL interval: percentiles of the resampled values that are defined, NaN without any."""
        known = self.again[~np.isnan(self.again)]
        if len(known) == 0:
            return float("nan"), float("nan")
        low, high = np.percentile(known, [50 - LEVEL / 2, 50 + LEVEL / 2])
        return float(low), float(high)

    def times(self, factor: float) -> "Score":
        """In another unit."""
        return Score(factor * self.value, factor * self.again)

    def minus(self, other: "Score") -> "Score":
        """The paired difference; both must be on the same resamples."""
        return Score(self.value - other.value, self.again - other.again)


def resample(image_id: np.ndarray, count: int, seed: Sequence[int]) -> Resamples:
    """`count` resamples of the distinct pictures in `image_id`; the same for the same pictures, count and seed.

    None of fewer than two pictures: one alone says nothing about others.
    """
    pictures = np.unique(image_id)
    if len(pictures) < 2:
        return Resamples(pictures, np.zeros((0, len(pictures)), np.int64))
    shares = np.full(len(pictures), 1 / len(pictures))
    return Resamples(pictures, np.random.default_rng(list(seed)).multinomial(len(pictures), shares, size=count))


def ratio_score(part: np.ndarray, whole: np.ndarray, image_id: np.ndarray, resamples: Resamples) -> Score:
    """Sum of `part` (N,) over sum of `whole` (N,), rows on the pictures `image_id` (N,); NaN where the whole is 0."""
    drawn = resamples.of(image_id)
    return Score(float(_ratio(part.sum(), whole.sum())), _ratio(drawn @ part, drawn @ whole))


def mean_score(scores: Sequence[Score]) -> Score:
    """The unweighted mean; resampled only if all of them are. NaN of nothing."""
    if not scores:
        return Score(float("nan"), np.zeros(0))
    count = min(len(score.again) for score in scores)
    again = np.mean([score.again[:count] for score in scores], axis=0)
    return Score(float(np.mean([score.value for score in scores])), again)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
