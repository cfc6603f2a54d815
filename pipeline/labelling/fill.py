"""Fills the full skeleton of annotated people: labels stay, missing keypoints come from networks, each keypoint has its source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.labelling.consensus import Consensus, Predictions
from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton

LABEL_SOURCE, NO_SOURCE = "label", ""
"""Sources of a keypoint that is labelled, and of one that is missing."""
SOURCE_SEPARATOR = " + "
"""Text between the names of the networks that a mean is taken over."""
MIN_OWN_OKS = 0.5
"""Smallest OKS of a pose that counts as the labelled person's: the loosest match of COCO's AP."""


@dataclass(frozen=True)
class FilledPeople:
    """N people in the full skeleton."""

    keypoints: np.ndarray
    """float64 (N, K, 2): x, y in image pixels; 0 where missing."""
    confidence: np.ndarray
    """float64 (N, K): 1 for a label, the network's confidence for a filled keypoint, 0 where missing."""
    source: np.ndarray
    """object (N, K): LABEL_SOURCE, NO_SOURCE, a network's name, or several names with SOURCE_SEPARATOR between them."""


def labels_as(people: People, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, K, 2) and a mask of the labelled keypoints (N, K) in the order of another skeleton; 0 where unlabelled."""
    labelled = skeleton.arranged(people.labelled, people.skeleton)
    return np.where(labelled[..., None], skeleton.arranged(people.keypoints, people.skeleton), 0.0), labelled


def without_mistaken_people(
    predictions: Predictions, labels: np.ndarray, labelled: np.ndarray, tolerances: np.ndarray, threshold: float
) -> Predictions:
    """Set the confidences to 0 of people whom a network seems to mistake for somebody else.

    Takes labels (N, K, 2), the mask of labelled keypoints (N, K) and tolerances (N, K). A network mistakes a person where it is
    confident of none of the labelled keypoints that it predicts, or where the OKS over the confident ones is below MIN_OWN_OKS.
    Predictions for a person without such a label cannot be judged and stay.
    """
    distance = np.linalg.norm(predictions.keypoints - labels, axis=-1) / tolerances
    judged = labelled & np.isfinite(distance)
    confident = judged & (predictions.confidence > threshold)
    similarity = np.where(confident, np.exp(-(np.where(confident, distance, 0.0) ** 2) / 2), 0.0)
    own = similarity.sum(axis=2) >= MIN_OWN_OKS * np.maximum(confident.sum(axis=2), 1)
    kept = own | ~judged.any(axis=2)
    return replace(predictions, confidence=np.where(kept[..., None], predictions.confidence, 0.0))


def fill_missing(
    people: People, skeleton: Skeleton, names: Sequence[str], predicted: Consensus, excluded: np.ndarray
) -> FilledPeople:
    """Keep the labels, and fill each missing keypoint with the consensus if that is inside the image and not `excluded` (N, K).

    `names` are those of the networks of the consensus.
    """
    labels, labelled = labels_as(people, skeleton)
    with np.errstate(invalid="ignore"):
        inside = ((predicted.keypoints >= -0.5) & (predicted.keypoints <= people.image_wh[:, None] - 0.5)).all(axis=2)
    filled = ~labelled & inside & ~excluded & people.use[:, None]
    source = np.full(labelled.shape, NO_SOURCE, object)
    source[labelled] = LABEL_SOURCE
    for n, k in np.argwhere(filled):
        agreeing = predicted.agreeing[:, n, k]
        source[n, k] = SOURCE_SEPARATOR.join(name for name, agrees in zip(names, agreeing, strict=True) if agrees)
    return FilledPeople(
        np.where(filled[..., None], predicted.keypoints, labels),
        np.where(filled, predicted.confidence, labelled.astype(np.float64)),
        source,
    )
