"""Pictures of suspicious labels: each keypoint in question as the label has it and as a network has it. No files."""

import cv2
import numpy as np

from pipeline.drawing import FINE, SHIFT, draw_pose
from pipeline.skeletons import Skeleton

LABEL, SEEN = (255, 30, 30), (40, 235, 60)
"""RGB of the mark where the label is, and where a network sees the keypoint."""
RADIUS = 1 / 36
"""Of the ring, as a share of the picture's height."""


def draw_in_question(
    picture: np.ndarray,
    skeleton: Skeleton,
    pose: np.ndarray,
    known: np.ndarray,
    questions: list[tuple[np.ndarray, np.ndarray]],
    seen: bool,
) -> np.ndarray:
    """A copy of an RGB picture with a pose (K, 2; `known` (K,)) and, per question (label, consensus), a line between the two.

    The ring is around the consensus where it is `seen`, else around the label.
    """
    drawn = draw_pose(picture, skeleton, pose, known)
    radius = picture.shape[0] * RADIUS
    color = SEEN if seen else LABEL
    for label, consensus in questions:
        here, there = (consensus, label) if seen else (label, consensus)
        step = there - here
        distance = float(np.linalg.norm(step))
        if distance > radius:
            cv2.line(drawn, _fixed(here + step * radius / distance), _fixed(there), color, 1, cv2.LINE_AA, SHIFT)
        cv2.circle(drawn, _fixed(here), round(radius * FINE), color, 2, cv2.LINE_AA, SHIFT)
    return drawn


def _fixed(point: np.ndarray) -> list[int]:
    return [int(value) for value in np.rint(point * FINE)]
