"""Finds suspicious labels: networks agree with each other and not with the label. Uses no images and no files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.labelling.consensus import Consensus
from pipeline.labelling.fill import labels_as
from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton

MISPLACED_FROM = 3.0
"""Distance in tolerances between label and consensus from which a label is suspicious (an OKS of 0.01)."""
SAME_PLACE_TOLERANCES = 1.0
"""Distance in tolerances up to which label and consensus are the same place."""

SuspicionKind = Literal["misplaced", "left and right exchanged", "on the other side"]


@dataclass(frozen=True)
class Suspicion:
    """A suspicious label of one keypoint. Positions are in image pixels."""

    row: int
    """Row of the person in the table."""
    keypoint: str
    kind: SuspicionKind
    """`left and right exchanged`: each of the two labels is where the other belongs. `on the other side`: only this one is."""
    tolerances: float
    """Distance from label to consensus in tolerances (pipeline.labelling.consensus.tolerance)."""
    of_box: float
    """The same distance as a share of the longer box side."""
    label: tuple[float, float]
    predicted: tuple[float, float]
    """Position of the consensus."""
    confidence: float
    """Confidence of the consensus."""


def suspicious_labels(
    people: People, skeleton: Skeleton, predicted: Consensus, tolerances: np.ndarray, excluded: np.ndarray
) -> list[list[Suspicion]]:
    """Return the suspicious labels of each person who has any. The largest distance is first, within a person and over people.

    Only keypoints count where at least two networks are confident, all confident ones agree, and that are not `excluded` (N, K).
    Two labels are exchanged from one tolerance (N, K) on, since hips lie hardly further apart; a single label is suspicious from
    MISPLACED_FROM tolerances on.
    """
    labels, labelled = labels_as(people, skeleton)
    judged = labelled & predicted.unanimous & ~excluded & people.use[:, None]
    by_person = []
    off = judged & (np.linalg.norm(labels - predicted.keypoints, axis=-1) > SAME_PLACE_TOLERANCES * tolerances)
    for row in np.flatnonzero(off.any(axis=1)).tolist():
        kinds = _kinds(skeleton, np.flatnonzero(judged[row]).tolist(), labels[row], predicted, row, tolerances[row])
        suspicions = [
            _suspicion(people, skeleton, row, k, kind, labels[row, k], predicted, float(tolerances[row, k]))
            for k, kind in kinds
        ]
        if suspicions:
            by_person.append(sorted(suspicions, key=lambda suspicion: -suspicion.tolerances))
    return sorted(by_person, key=lambda person: (-person[0].tolerances, person[0].row))


def _kinds(
    skeleton: Skeleton, judged: list[int], labels: np.ndarray, predicted: Consensus, row: int, tolerances: np.ndarray
) -> Iterator[tuple[int, SuspicionKind]]:
    """Yield the suspicious ones among the keypoints `judged` of one person, with their kinds."""
    points, unanimous = predicted.keypoints[row], predicted.unanimous[row]

    def distance(label: int, point: int) -> float:
        return float(np.linalg.norm(labels[label] - points[point]) / tolerances[label])

    for k in judged:
        other = int(skeleton.mirror[k])
        if other != k and other in judged and all(_exchanged(distance, a, b) for a, b in ((k, other), (other, k))):
            yield k, "left and right exchanged"
        elif distance(k, k) > MISPLACED_FROM:
            crossed = other != k and unanimous[other] and distance(k, other) <= SAME_PLACE_TOLERANCES
            yield k, "on the other side" if crossed else "misplaced"


def _exchanged(distance: Callable[[int, int], float], k: int, other: int) -> bool:
    """Return whether the label of k is off its own place, and at most half as far from that of the other side."""
    return distance(k, k) > SAME_PLACE_TOLERANCES and 2 * distance(k, other) <= distance(k, k)


def _suspicion(
    people: People,
    skeleton: Skeleton,
    row: int,
    k: int,
    kind: SuspicionKind,
    label: np.ndarray,
    predicted: Consensus,
    tolerance: float,
) -> Suspicion:
    point = predicted.keypoints[row, k]
    distance = float(np.linalg.norm(label - point))
    return Suspicion(
        row=row,
        keypoint=skeleton.keypoints[k],
        kind=kind,
        tolerances=distance / tolerance,
        of_box=distance / float(people.box[row, 2:].max()),
        label=(float(label[0]), float(label[1])),
        predicted=(float(point[0]), float(point[1])),
        confidence=float(predicted.confidence[row, k]),
    )
