"""Marks suspicious labels in images: each keypoint in question at its label and at the consensus. Uses no files."""

import cv2
import numpy as np

from pipeline.drawing import SUBPIXEL_SHIFT, SUBPIXELS, draw_pose
from pipeline.pose.skeletons import Skeleton

LABEL_COLOR, CONSENSUS_COLOR = (255, 30, 30), (40, 235, 60)
"""RGB colours of the ring around a label, and of the ring around the consensus of the networks."""
RING_RADIUS = 1 / 36
"""Radius of the ring as a share of the image's height."""


def draw_suspicions(
    image: np.ndarray,
    skeleton: Skeleton,
    pose: np.ndarray,
    known: np.ndarray,
    suspicions: list[tuple[np.ndarray, np.ndarray]],
    ring_consensus: bool,
) -> np.ndarray:
    """Return a copy of an RGB image with a pose (K, 2; `known` (K,)), and a line from label to consensus for each suspicion.

    A suspicion is the positions of the label and of the consensus in the image's pixels. `ring_consensus` decides which of the
    two has the ring.
    """
    drawn = draw_pose(image, skeleton, pose, known)
    radius = image.shape[0] * RING_RADIUS
    color = CONSENSUS_COLOR if ring_consensus else LABEL_COLOR
    for label, consensus in suspicions:
        center, other = (consensus, label) if ring_consensus else (label, consensus)
        step = other - center
        distance = float(np.linalg.norm(step))
        if distance > radius:
            start = _fixed(center + step * radius / distance)
            cv2.line(drawn, start, _fixed(other), color, 1, cv2.LINE_AA, SUBPIXEL_SHIFT)
        cv2.circle(drawn, _fixed(center), round(radius * SUBPIXELS), color, 2, cv2.LINE_AA, SUBPIXEL_SHIFT)
    return drawn


def _fixed(point: np.ndarray) -> list[int]:
    """Return a position in OpenCV's fixed-point pixels."""
    return [int(value) for value in np.rint(point * SUBPIXELS)]
