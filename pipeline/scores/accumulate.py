"""COCO's accumulation of matches into average precision, redone for many resamples at once. The matching is pycocotools'."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.scores.bootstrap import Resamples

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read off (pycocotools, `recThrs`)."""

AT_ONCE = 4_000_000
"""Resamples x poses that are held in memory, for one threshold."""


@dataclass(frozen=True)
class Matches:
    """What became of D poses at T OKS thresholds, all person sizes together; the best-scored pose is first."""

    image_id: np.ndarray
    """int64 (D,)."""
    correct: np.ndarray
    """bool (T, D): matched to a person that counts."""
    false: np.ndarray
    """bool (T, D): matched to nobody; neither this nor `correct` where a crowd or an unlabelled person excuses the pose."""
    person_image_id: np.ndarray
    """int64 (G,): the picture of each person that counts."""


def matches_of(evaluation: Any) -> Matches:
    """From an evaluated `pycocotools.cocoeval.COCOeval` of one category whose first area range holds everybody."""
    pictures = [each for each in evaluation.evalImgs[: len(evaluation.params.imgIds)] if each is not None]
    thresholds = len(evaluation.params.iouThrs)
    score = np.concatenate([np.zeros(0), *(each["dtScores"] for each in pictures)])
    best_first = np.argsort(-score, kind="mergesort")  # as pycocotools sorts them: ties stay in the order of pictures
    image_id = np.concatenate([np.zeros(0, int), *([each["image_id"]] * len(each["dtScores"]) for each in pictures)])
    empty = np.zeros((thresholds, 0), bool)
    matched = np.concatenate([empty, *(each["dtMatches"] > 0 for each in pictures)], axis=1)[:, best_first]
    excused = np.concatenate([empty, *(each["dtIgnore"] for each in pictures)], axis=1)[:, best_first].astype(bool)
    people = [np.full(int((each["gtIgnore"] == 0).sum()), each["image_id"]) for each in pictures]
    return Matches(
        image_id=image_id[best_first].astype(np.int64),
        correct=matched & ~excused,
        false=~matched & ~excused,
        person_image_id=np.concatenate([np.zeros(0, np.int64), *people]),
    )


def average_precision(matches: Matches, resamples: Resamples) -> np.ndarray:
    """Float64 (B,): AP over the T thresholds on 0-1 for each resample, NaN where nobody counts.

    What pycocotools gives for the drawn pictures: a picture drawn twice adds its matches and its people twice. Copies of a
    pose have one score, so precision need not be read between them: behind a correct copy the next one only raises it, and
    behind a false one recall stands still. (Two poses of one picture with the very same score take turns there, and not here.)
    """
    people = resamples.of(matches.person_image_id).sum(axis=1)
    result = np.full(len(people), np.nan)
    rows = max(1, AT_ONCE // max(len(matches.image_id), 1))
    for start in range(0, len(people), rows):
        known = np.flatnonzero(people[start : start + rows] > 0) + start
        drawn = replace(resamples, counts=resamples.counts[known]).of(matches.image_id)
        precisions = [
            _precision(drawn, correct, false, people[known])
            for correct, false in zip(matches.correct, matches.false, strict=True)
        ]
        result[known] = np.concatenate(precisions, axis=1).mean(axis=1)
    return result


def _precision(drawn: np.ndarray, correct: np.ndarray, false: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Float64 (B, 101): for B resamples the best precision at each recall or beyond; 0 where it is never reached."""
    hits = np.cumsum(drawn[:, correct], axis=1)
    misses = np.cumsum(drawn * false, axis=1)[:, correct]  # precision peaks, and recall grows, at correct poses alone
    precision = hits / (misses + hits + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    recall = hits / people[:, None]
    reached = np.stack([np.searchsorted(row, RECALLS) for row in recall]) if len(recall) else np.zeros((0, 101), int)
    return np.take_along_axis(best, reached, axis=1)
