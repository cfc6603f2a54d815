"""The full skeleton of annotated people: labels as they are, what they lack from networks, each keypoint with its source."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.labels.consensus import Consensus, Opinions
from pipeline.people.people import People
from pipeline.skeletons import Skeleton

LABEL, NOBODY = "label", ""
JOINED = " + "
"""Between the sources of a mean."""
OWN = 0.5
"""OKS from which on a pose is taken for the labelled person's: the loosest match that COCO's AP counts."""


@dataclass(frozen=True)
class Filled:
    """N people in the full skeleton."""

    keypoints: np.ndarray
    """float64 (N, K, 2): x, y in image pixels; 0 where missing."""
    confidence: np.ndarray
    """float64 (N, K): 1 for a label, the network's where it is from one, 0 where missing."""
    source: np.ndarray
    """object (N, K): LABEL, the network's name, several names JOINED, or NOBODY."""


def labels_in(people: People, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, K, 2) and which there are (N, K), in the order of another skeleton; 0 where there is none."""
    labelled = skeleton.arranged(people.labelled, people.skeleton)
    return np.where(labelled[..., None], skeleton.arranged(people.keypoints, people.skeleton), 0.0), labelled


def at_hand(
    opinions: Opinions, labels: np.ndarray, labelled: np.ndarray, allowed: np.ndarray, threshold: float
) -> Opinions:
    """The opinions without those on people whom a network seems to mistake for another: its confidences there are 0.

    Labels (N, K, 2), which there are (N, K), tolerances (N, K). It does where, of the labelled keypoints that it knows, it is sure
    of none, or the OKS over those it is sure of is below OWN. Who has no such label cannot be judged and stays.
    """
    away = np.linalg.norm(opinions.keypoints - labels, axis=-1) / allowed
    judged = labelled & np.isfinite(away)
    sure = judged & (opinions.confidence > threshold)
    similarity = np.where(sure, np.exp(-(np.where(sure, away, 0.0) ** 2) / 2), 0.0)
    own = similarity.sum(axis=2) >= OWN * np.maximum(sure.sum(axis=2), 1)
    kept = own | ~judged.any(axis=2)
    return replace(opinions, confidence=np.where(kept[..., None], opinions.confidence, 0.0))


def fill(people: People, skeleton: Skeleton, opinions: Opinions, found: Consensus, barred: np.ndarray) -> Filled:
    """Labels unchanged; where there is none, the consensus, if it is inside the picture and not `barred` (N, K)."""
    labels, labelled = labels_in(people, skeleton)
    with np.errstate(invalid="ignore"):
        inside = ((found.keypoints >= -0.5) & (found.keypoints <= people.image_wh[:, None] - 0.5)).all(axis=2)
    taken = ~labelled & inside & ~barred & people.use[:, None]
    source = np.full(labelled.shape, NOBODY, object)
    source[labelled] = LABEL
    for n, k in np.argwhere(taken):
        source[n, k] = JOINED.join(name for name, part in zip(opinions.names, found.part[:, n, k], strict=True) if part)
    return Filled(
        np.where(taken[..., None], found.keypoints, labels),
        np.where(taken, found.confidence, labelled.astype(np.float64)),
        source,
    )
