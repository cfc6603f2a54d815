"""What several networks say about the same people, and where they agree. No labels, no files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.scores.poses import Poses, keypoints_as
from pipeline.skeletons import Skeleton

LEAST = 1.0
"""Pixels: a keypoint is clicked to a pixel, so nobody's tolerance is finer."""


@dataclass(frozen=True)
class Opinions:
    """S sources' keypoints of N people, in image pixels, in one skeleton."""

    names: tuple[str, ...]
    """Like `teacher coco`, `student unified`."""
    keypoints: np.ndarray
    """float64 (S, N, K, 2): NaN where the source does not know the keypoint, or was not shown the person."""
    confidence: np.ndarray
    """float64 (S, N, K): 0-1; 0 where there is no keypoint."""


@dataclass(frozen=True)
class Consensus:
    """What the sources that are confident enough say together."""

    keypoints: np.ndarray
    """float64 (N, K, 2): the mean, weighted by confidence, of the `part`; NaN where nobody is confident enough."""
    confidence: np.ndarray
    """float64 (N, K): the most confident source's; 0 where nobody is confident enough."""
    part: np.ndarray
    """bool (S, N, K): the most confident source, and those that agree with it."""
    agreed: np.ndarray
    """bool (N, K): two sources or more are confident enough, and all of these agree."""


def opinions_of(poses: Mapping[str, Poses], people: People, skeleton: Skeleton) -> Opinions:
    """Poses by the name of their source, brought into the order of the people's rows and of the skeleton; at most one per person."""
    shape = (len(poses), len(people), len(skeleton))
    keypoints, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
    order = np.argsort(people.person)
    for s, found in enumerate(poses.values()):
        rows = order[np.searchsorted(people.person, found.person, sorter=order)]
        points = keypoints_as(found, skeleton.keypoints)
        positions = skeleton.positions_in(found.skeleton)
        there = np.isfinite(points).all(axis=2)
        keypoints[s, rows] = np.where(there[:, :, None], points, np.nan)
        confidence[s, rows] = np.where(there, found.confidence[:, positions], 0.0)
    return Opinions(tuple(poses), keypoints, confidence)


def tolerance(people: People, skeleton: Skeleton) -> np.ndarray:
    """Float64 (N, K): pixels that a keypoint may be off: 2 x OKS sigma x the person's scale, where OKS is 0.61.

    COCO's sigmas are what annotators differ by, and OKS doubles them (cocodataset.org, keypoint evaluation). The scale is the root
    of the area, as there, and at most half of the longer box side: about what COCO's people have, whose areas are their own. A
    format without areas gives its box's, which is twice that and more.
    """
    scale = np.minimum(np.sqrt(people.area), people.box[:, 2:].max(axis=1, initial=0) / 2)
    return np.maximum(2 * skeleton.sigmas * scale[:, None], LEAST)


def consensus(opinions: Opinions, allowed: np.ndarray, threshold: float) -> Consensus:
    """The most confident source of each keypoint, averaged with all that are within `allowed` (N, K) pixels of it.

    A source counts where its confidence is above the threshold. Another that is further away is not averaged in, and ends the
    agreement: networks of different kinds are sure on different scales, so the surer one is the better guess and no more.
    """
    sure = opinions.confidence > threshold
    best = np.where(sure, opinions.confidence, -1.0).argmax(axis=0)[None]
    leader = np.take_along_axis(opinions.keypoints, best[..., None], axis=0)
    away = np.linalg.norm(opinions.keypoints - leader, axis=-1)
    part = sure & (away <= allowed)
    weight = np.where(part, opinions.confidence, 0.0)
    total = weight.sum(axis=0)
    summed = (weight[..., None] * np.where(part[..., None], opinions.keypoints, 0.0)).sum(axis=0)
    mean = summed / np.where(total > 0, total, np.nan)[..., None]
    agreed = (part.sum(axis=0) >= 2) & (part == sure).all(axis=0)
    return Consensus(mean, weight.max(axis=0), part, agreed)
