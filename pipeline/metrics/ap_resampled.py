"""Accumulates COCO's matches into average precision for many resamples at once. The matching itself is pycocotools'."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.metrics.bootstrap import Resamples

RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Recalls at which the precision is read (pycocotools, `recThrs`)."""

VALUES_AT_ONCE = 2**18
"""Resamples x poses that are computed at once, for one threshold: few enough for a core's cache."""


@dataclass(frozen=True)
class Matches:
    """Matches of D poses at T OKS thresholds, over all person sizes. The pose with the highest score is first.

    A pose that is matched to a crowd or to an unlabelled person is neither correct nor false.
    """

    image_id: np.ndarray
    """int64 (D,): image of each pose."""
    correct: np.ndarray
    """bool (T, D): the pose is matched to a person that counts."""
    false: np.ndarray
    """bool (T, D): the pose is matched to nobody."""
    person_image_id: np.ndarray
    """int64 (G,): image of each person that counts."""


def matches_of_evaluation(evaluation: Any) -> Matches:
    """Return the matches of an evaluated `pycocotools.cocoeval.COCOeval` of one category. Its first area range must be `all`."""
    images = [image for image in evaluation.evalImgs[: len(evaluation.params.imgIds)] if image is not None]
    thresholds = len(evaluation.params.iouThrs)
    score = np.concatenate([np.zeros(0), *(image["dtScores"] for image in images)])
    best_first = np.argsort(-score, kind="mergesort")  # as pycocotools sorts them: ties stay in the order of images
    image_id = np.concatenate([np.zeros(0, int), *([image["image_id"]] * len(image["dtScores"]) for image in images)])
    empty = np.zeros((thresholds, 0), bool)
    matched = np.concatenate([empty, *(image["dtMatches"] > 0 for image in images)], axis=1)[:, best_first]
    ignored = np.concatenate([empty, *(image["dtIgnore"] for image in images)], axis=1)[:, best_first].astype(bool)
    people = [np.full(int((image["gtIgnore"] == 0).sum()), image["image_id"]) for image in images]
    return Matches(
        image_id=image_id[best_first].astype(np.int64),
        correct=matched & ~ignored,
        false=~matched & ~ignored,
        person_image_id=np.concatenate([np.zeros(0, np.int64), *people]),
    )


def average_precision(matches: Matches, resamples: Resamples) -> np.ndarray:
    """Return float64 (B,): the AP in 0-1 over the T thresholds for each resample; NaN where no person counts.

    This is what pycocotools returns for the drawn images, where an image that is drawn twice adds its matches and its people
    twice. Copies of a pose have the same score, so the precision need not be read between them: after a correct copy the next
    one only raises it, and after a false one the recall does not change. One difference remains: copies of two poses of one
    image with equal scores alternate in pycocotools, and do not here.
    """
    people = resamples.counts_of(matches.person_image_id).sum(axis=1)
    result = np.full(len(people), np.nan)
    known = np.flatnonzero(people > 0)
    counts, images = resamples.counts[known].astype(np.int32), resamples.positions_of(matches.image_id)
    thresholds = [_Threshold(c, f) for c, f in zip(matches.correct, matches.false, strict=True)]
    rows = max(1, VALUES_AT_ONCE // max(len(matches.image_id), 1))
    for start in range(0, len(known), rows):
        drawn = np.take(counts[start : start + rows], images, axis=1)
        ranks = np.cumsum(drawn, axis=1, dtype=np.int32)
        of_block = known[start : start + rows]
        result[of_block] = np.mean(
            [_mean_precision(each, drawn, ranks, people[of_block]) for each in thresholds], axis=0
        )
    return result


class _Threshold:
    """Positions among the poses at one threshold: of the correct ones (C,), and of those that are neither correct nor false."""

    def __init__(self, correct: np.ndarray, false: np.ndarray) -> None:
        self.correct = np.flatnonzero(correct)
        self.ignored = np.flatnonzero(~correct & ~false)
        self.ignored_before = np.searchsorted(self.ignored, self.correct)
        """Number of ignored poses before each correct one."""


def _mean_precision(at: _Threshold, drawn: np.ndarray, ranks: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return float64 (B,): the mean over RECALL_THRESHOLDS of the best precision at a recall or beyond; 0 where it is not reached.

    `drawn` (B, D) is how often each pose was drawn, `ranks` its sum up to each pose. Precision peaks, and recall grows, at correct
    poses alone. The best of a recall's stretch of poses, up to the next recall, comes first, and then the best of all later ones.
    """
    hits = np.cumsum(np.take(drawn, at.correct, axis=1), axis=1, dtype=np.int32)
    if not hits.shape[1]:
        return np.zeros(len(hits))
    counted = np.take(ranks, at.correct, axis=1)
    if len(at.ignored):
        ignored = np.cumsum(np.take(drawn, at.ignored, axis=1), axis=1, dtype=np.int32)
        counted -= np.take(np.pad(ignored, ((0, 0), (1, 0))), at.ignored_before, axis=1)
    precision = hits / (counted + np.spacing(1))
    least_hits = _least_hits(people)
    reached = np.array([np.searchsorted(row, least) for row, least in zip(hits, least_hits, strict=True)])
    width = hits.shape[1]
    starts = np.minimum(reached, width - 1) + width * np.arange(len(hits))[:, None]
    stretches = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(starts.shape)
    best = np.maximum.accumulate(stretches[:, ::-1], axis=1)[:, ::-1]
    return np.where(reached < width, best, 0.0).mean(axis=1)


def _least_hits(people: np.ndarray) -> np.ndarray:
    """Return int64 (B, 101): the fewest hits whose share of `people` (B,), as a float, is at least each of RECALL_THRESHOLDS."""
    people = people[:, None]
    least = np.ceil(RECALL_THRESHOLDS * people).astype(np.int64)
    least -= (least - 1) / people >= RECALL_THRESHOLDS  # where the product was rounded
    least += least / people < RECALL_THRESHOLDS
    return least
