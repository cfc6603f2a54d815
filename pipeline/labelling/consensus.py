"""Combines several networks' predictions for the same people, and finds where they agree. Uses no labels and no files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.people.poses import Poses, keypoints_as
from pipeline.pose.skeletons import Skeleton

MIN_TOLERANCE = 1.0
"""Smallest tolerance in pixels: annotators click on whole pixels."""


@dataclass(frozen=True)
class Predictions:
    """Keypoints of N people as S networks predict them, in image pixels and in one skeleton."""

    names: tuple[str, ...]
    """Names of the networks, like `teacher coco` and `student unified`."""
    keypoints: np.ndarray
    """float64 (S, N, K, 2): NaN where the network does not predict the keypoint, or was not run on the person."""
    confidence: np.ndarray
    """float64 (S, N, K): confidence in 0-1; 0 where there is no keypoint."""


@dataclass(frozen=True)
class Consensus:
    """The combined prediction of the networks that are confident enough."""

    keypoints: np.ndarray
    """float64 (N, K, 2): mean over the `agreeing` networks, weighted by confidence; NaN where no network is confident enough."""
    confidence: np.ndarray
    """float64 (N, K): confidence of the most confident network; 0 where no network is confident enough."""
    agreeing: np.ndarray
    """bool (S, N, K): the most confident network, and the confident ones within the tolerance of it."""
    unanimous: np.ndarray
    """bool (N, K): at least two networks are confident enough, and all of these agree."""


def predictions_of(poses: Mapping[str, Poses], people: People, skeleton: Skeleton) -> Predictions:
    """Arrange poses, given by the name of their network, in the order of the people's rows and of the skeleton.

    A network has at most one pose per person.
    """
    shape = (len(poses), len(people), len(skeleton))
    keypoints, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
    order = np.argsort(people.person)
    for s, predicted in enumerate(poses.values()):
        rows = order[np.searchsorted(people.person, predicted.person, sorter=order)]
        points = keypoints_as(predicted, skeleton.keypoints)
        positions = skeleton.positions_in(predicted.skeleton)
        known = np.isfinite(points).all(axis=2)
        keypoints[s, rows] = np.where(known[:, :, None], points, np.nan)
        confidence[s, rows] = np.where(known, predicted.confidence[:, positions], 0.0)
    return Predictions(tuple(poses), keypoints, confidence)


def tolerance(people: People, skeleton: Skeleton) -> np.ndarray:
    """Return float64 (N, K): the pixels that a keypoint may be off, 2 x OKS sigma x the person's scale, where the OKS is 0.61.

    COCO's sigmas are the differences between annotators, and OKS doubles them (cocodataset.org, keypoint evaluation). The scale
    is the square root of the area, as there, but at most half of the longer box side: about what it is for COCO's people, whose
    areas are those of their outlines. A format without areas has the area of the box instead, which is twice that and more.
    """
    scale = np.minimum(np.sqrt(people.area), people.box[:, 2:].max(axis=1, initial=0) / 2)
    return np.maximum(2 * skeleton.sigmas * scale[:, None], MIN_TOLERANCE)


def consensus(predictions: Predictions, tolerances: np.ndarray, threshold: float) -> Consensus:
    """Average the most confident network's keypoint with all that lie within `tolerances` (N, K) pixels of it.

    A network counts where its confidence is above the threshold. One that lies further away is left out of the mean, and the
    keypoint is not unanimous: confidences of different kinds of networks have different scales, so that the most confident
    network is the better guess and no more.
    """
    confident = predictions.confidence > threshold
    best = np.where(confident, predictions.confidence, -1.0).argmax(axis=0)[None]
    leader = np.take_along_axis(predictions.keypoints, best[..., None], axis=0)
    distance = np.linalg.norm(predictions.keypoints - leader, axis=-1)
    agreeing = confident & (distance <= tolerances)
    weight = np.where(agreeing, predictions.confidence, 0.0)
    total = weight.sum(axis=0)
    summed = (weight[..., None] * np.where(agreeing[..., None], predictions.keypoints, 0.0)).sum(axis=0)
    mean = summed / np.where(total > 0, total, np.nan)[..., None]
    unanimous = (agreeing.sum(axis=0) >= 2) & (agreeing == confident).all(axis=0)
    return Consensus(mean, weight.max(axis=0), agreeing, unanimous)
