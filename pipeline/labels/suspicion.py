"""Labels to look at again: networks agree with each other and not with the label. No pictures, no files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.labels.consensus import Consensus
from pipeline.labels.fill import labels_in
from pipeline.people.people import People
from pipeline.skeletons import Skeleton

FAR = 3.0
"""Tolerances between label and consensus that make a label suspicious (an OKS of 0.01)."""
NEAR = 1.0
"""Tolerances within which label and consensus are the same place."""

Kind = Literal["misplaced", "left and right exchanged", "on the other side"]


@dataclass(frozen=True)
class Suspicion:
    """One labelled keypoint. Positions are in image pixels."""

    row: int
    """The person's, in the table."""
    keypoint: str
    kind: Kind
    """`left and right exchanged`: each of the two labels is where the other belongs. `on the other side`: this one alone is."""
    tolerances: float
    """From label to consensus (pipeline.labels.consensus.tolerance)."""
    of_box: float
    """The same distance as a share of the longer box side."""
    label: tuple[float, float]
    seen: tuple[float, float]
    confidence: float


def suspicions(
    people: People, skeleton: Skeleton, found: Consensus, allowed: np.ndarray, excused: np.ndarray
) -> list[list[Suspicion]]:
    """Per suspicious person the keypoints in question, the furthest first; the person with the furthest first.

    Only keypoints where all confident networks agree, two at least, and that are not `excused` (N, K) count. Two labels count as
    exchanged from one tolerance on, since hips lie hardly further apart; a single label from FAR on. `allowed` (N, K): tolerances.
    """
    labels, labelled = labels_in(people, skeleton)
    judged = labelled & found.agreed & ~excused & people.use[:, None]
    by_person = []
    off = judged & (np.linalg.norm(labels - found.keypoints, axis=-1) > NEAR * allowed)
    for row in np.flatnonzero(off.any(axis=1)).tolist():
        names = [k for k, name in enumerate(skeleton.keypoints) if judged[row, k]]
        kinds = _kinds(skeleton, names, labels[row], found, row, allowed[row])
        here = [
            _suspicion(people, skeleton, row, k, kind, labels[row, k], found, float(allowed[row, k]))
            for k, kind in kinds
        ]
        if here:
            by_person.append(sorted(here, key=lambda s: -s.tolerances))
    return sorted(by_person, key=lambda person: (-person[0].tolerances, person[0].row))


def _kinds(
    skeleton: Skeleton, judged: list[int], labels: np.ndarray, found: Consensus, row: int, allowed: np.ndarray
) -> Iterator[tuple[int, Kind]]:
    """The suspicious ones among the keypoints `judged` of one person."""
    seen, agreed = found.keypoints[row], found.agreed[row]

    def away(label: int, point: int) -> float:
        return float(np.linalg.norm(labels[label] - seen[point]) / allowed[label])

    for k in judged:
        other = int(skeleton.mirror[k])
        if other != k and other in judged and all(_swapped(away, a, b) for a, b in ((k, other), (other, k))):
            yield k, "left and right exchanged"
        elif away(k, k) > FAR:
            crossed = other != k and agreed[other] and away(k, other) <= NEAR
            yield k, "on the other side" if crossed else "misplaced"


def _swapped(away: Callable[[int, int], float], k: int, other: int) -> bool:
    """Is the label of k off its own place, and at most half as far from the other side's?"""
    return away(k, k) > NEAR and 2 * away(k, other) <= away(k, k)


def _suspicion(
    people: People,
    skeleton: Skeleton,
    row: int,
    k: int,
    kind: Kind,
    label: np.ndarray,
    found: Consensus,
    allowed: float,
) -> Suspicion:
    seen = found.keypoints[row, k]
    distance = float(np.linalg.norm(label - seen))
    return Suspicion(
        row=row,
        keypoint=skeleton.keypoints[k],
        kind=kind,
        tolerances=distance / allowed,
        of_box=distance / float(people.box[row, 2:].max()),
        label=(float(label[0]), float(label[1])),
        seen=(float(seen[0]), float(seen[1])),
        confidence=float(found.confidence[row, k]),
    )
