"""Bootstrap over images: how much a score would differ on other images of the same kind. Knows no particular metric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE_LEVEL = 95.0
"""Percentage of the resamples that an interval covers."""


@dataclass(frozen=True)
class Resamples:
    """B samples with replacement, each of as many images as there are (Efron 1979).

    Images are drawn, not people: average precision does not add up over people, and people in one image share its light, crowd
    and photographer. Two models that are scored on the same resamples are compared in pairs.
    """

    image_id: np.ndarray
    """int64 (I,): the images, sorted."""
    counts: np.ndarray
    """int64 (B, I): how often each image was drawn."""

    def counts_of(self, image_id: np.ndarray) -> np.ndarray:
        """Return int64 (B, N): how often the image of each of N rows was drawn; ValueError for an image that is not resampled."""
        return np.take(self.counts, self.positions_of(image_id), axis=1)

    def positions_of(self, image_id: np.ndarray) -> np.ndarray:
        """Return int64 (N,): the column of each row's image; ValueError for an image that is not resampled."""
        positions = np.searchsorted(self.image_id, image_id)
        if len(image_id) and not (
            positions.max(initial=0) < len(self.image_id) and (self.image_id[positions] == image_id).all()
        ):
            raise ValueError("a row's image is not among those that are resampled")
        return positions


@dataclass(frozen=True)
class Score:
    """A score, and its values on the resamples."""

    value: float
    resampled: np.ndarray
    """float64 (B,): the score on each resample; empty where the score is not resampled."""
    missed: tuple[str, ...] = ()
    """The keypoints that it is over and that the model does not give: they count as missed."""

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of CONFIDENCE_LEVEL: percentiles of the defined values on the resamples; NaN where there are none."""
        known = self.resampled[~np.isnan(self.resampled)]
        if len(known) == 0:
            return float("nan"), float("nan")
        low, high = np.percentile(known, [50 - CONFIDENCE_LEVEL / 2, 50 + CONFIDENCE_LEVEL / 2])
        return float(low), float(high)

    def scaled(self, factor: float) -> "Score":
        """Return the score in another unit."""
        return replace(self, value=factor * self.value, resampled=factor * self.resampled)

    def minus(self, other: "Score") -> "Score":
        """Return the paired difference; both scores must be on the same resamples."""
        return Score(self.value - other.value, self.resampled - other.resampled, _all_missed([self, other]))


def resample_seeds(by_seed: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return float64 (B,): for each of B resamples of the images, the mean of `by_seed` (S, B) over S rows drawn with replacement.

    A row is a training's score on the resamples, or the difference of two trainings of the same seed. The result varies as the mean
    would with other trainings and other images: drawn rows deviate from their mean by too little, and sqrt(S / (S - 1)) makes up for it
    (Efron 1982, "The jackknife, the bootstrap and other resampling plans"). One row says nothing about other trainings: the result is
    over images alone.
    """
    count, resamples = by_seed.shape
    if count == 1:
        return by_seed[0]
    drawn = np.random.default_rng(seed).integers(count, size=(count, resamples))
    mean = by_seed.mean(axis=0)
    deviation = np.take_along_axis(by_seed, drawn, axis=0).mean(axis=0) - mean
    return mean + deviation * np.sqrt(count / (count - 1))


def draw_resamples(image_id: np.ndarray, count: int, seed: Sequence[int]) -> Resamples:
    """Draw `count` resamples of the distinct images in `image_id`. The same images, count and seed give the same resamples.

    Fewer than two images have no resamples, since one image tells nothing about others.
    """
    images = np.unique(image_id)
    if len(images) < 2:
        return Resamples(images, np.zeros((0, len(images)), np.int64))
    shares = np.full(len(images), 1 / len(images))
    return Resamples(images, np.random.default_rng(list(seed)).multinomial(len(images), shares, size=count))


def ratio_score(part: np.ndarray, whole: np.ndarray, image_id: np.ndarray, resamples: Resamples) -> Score:
    """Return the sum of `part` (N,) over the sum of `whole` (N,); `image_id` (N,) are the rows' images. NaN where the whole is 0."""
    drawn = resamples.counts_of(image_id)
    return Score(float(_ratio(part.sum(), whole.sum())), _ratio(drawn @ part, drawn @ whole))


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the unweighted mean, NaN of no scores. It is resampled only if all scores are."""
    if not scores:
        return Score(float("nan"), np.zeros(0))
    count = min(len(score.resampled) for score in scores)
    resampled = np.mean([score.resampled[:count] for score in scores], axis=0)
    return Score(float(np.mean([score.value for score in scores])), resampled, _all_missed(scores))


def _all_missed(scores: Sequence[Score]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(keypoint for score in scores for keypoint in score.missed))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
