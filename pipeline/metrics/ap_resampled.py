"""Accumulates COCO's matches into average precision for many resamples at once. The matching itself is pycocotools'."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.metrics.bootstrap import Resamples

RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Recalls at which the precision is read (pycocotools, `recThrs`)."""

MAX_VALUES_IN_MEMORY = 4_000_000
"""Resamples x poses that are computed at once, for one threshold."""


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
    rows = max(1, MAX_VALUES_IN_MEMORY // max(len(matches.image_id), 1))
    for start in range(0, len(people), rows):
        known = np.flatnonzero(people[start : start + rows] > 0) + start
        drawn = replace(resamples, counts=resamples.counts[known]).counts_of(matches.image_id)
        precisions = [
            _precision(drawn, correct, false, people[known])
            for correct, false in zip(matches.correct, matches.false, strict=True)
        ]
        result[known] = np.concatenate(precisions, axis=1).mean(axis=1)
    return result


def _precision(drawn: np.ndarray, correct: np.ndarray, false: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return float64 (B, 101): for each of B resamples the best precision at a recall or beyond; 0 where it is never reached."""
    hits = np.cumsum(drawn[:, correct], axis=1)
    misses = np.cumsum(drawn * false, axis=1)[:, correct]  # precision peaks, and recall grows, at correct poses alone
    precision = hits / (misses + hits + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    recall = hits / people[:, None]
    reached = [np.searchsorted(row, RECALL_THRESHOLDS) for row in recall]
    return np.take_along_axis(best, np.array(reached, int).reshape(-1, len(RECALL_THRESHOLDS)), axis=1)
