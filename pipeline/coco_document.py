"""Predicted poses as a COCO document, for pycocotools and labelling tools. Not here: predicting, files."""

from typing import Any

import numpy as np

from pipeline.people.coco import PERSON
from pipeline.scores.poses import person_score
from pipeline.skeletons import Skeleton

SEEN, GUESSED, ABSENT = 2, 1, 0
"""The `v` of a keypoint: confidence above the threshold, not above it, no position at all (then x = y = 0)."""

CONFIDENCES = "keypoint_confidences"
"""Field of an annotation: one number in 0-1 per keypoint."""


def person_category(skeleton: Skeleton) -> dict[str, Any]:
    """The one category: keypoint names, and limbs as pairs of 1-based positions."""
    limbs = [[skeleton.index(one) + 1, skeleton.index(other) + 1] for one, other in skeleton.limbs]
    return {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.keypoints),
        "skeleton": limbs,
    }


def visibility(points: np.ndarray, confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Int (..., K): SEEN, GUESSED or ABSENT for keypoints (..., K, 2) and confidences (..., K)."""
    there = np.isfinite(points).all(axis=-1)
    return np.where(there, np.where(confidence > threshold, SEEN, GUESSED), ABSENT)


def annotation(
    number: int,
    image_id: int,
    box: np.ndarray,
    box_score: float,
    points: np.ndarray,
    confidence: np.ndarray,
    threshold: float,
) -> dict[str, Any]:
    """One person: keypoints (K, 2) in image pixels and confidences (K,), to hundredths of a pixel and four digits.

    A network says how sure it is, not what is hidden, so `v` is by confidence; `num_keypoints` counts the positions, as
    COCO's does. `score` is the box's times the mean confidence (see person_score); `bbox` is the one looked into.
    """
    v = visibility(points, confidence, threshold)
    triplets = np.column_stack([np.where(v[:, None] == ABSENT, 0.0, points).round(2), v])
    return {
        "id": number,
        "image_id": image_id,
        "category_id": PERSON,
        "keypoints": [int(value) if i % 3 == 2 else value for i, value in enumerate(triplets.ravel().tolist())],
        "num_keypoints": int((v > ABSENT).sum()),
        CONFIDENCES: [round(value, 4) for value in confidence.tolist()],
        "score": round(float(person_score(confidence, box_score)), 4),
        "bbox": [round(value, 2) for value in box.tolist()],
        "area": round(float(box[2] * box[3]), 2),
        "iscrowd": 0,
    }
