"""Predicted poses as a COCO document, for pycocotools and labelling tools. Nothing is predicted or written here."""

from typing import Any

import numpy as np

from pipeline.datasets.coco import PERSON_CATEGORY
from pipeline.people.poses import person_score
from pipeline.pose.skeletons import Skeleton

ABOVE_THRESHOLD, BELOW_THRESHOLD, ABSENT = 2, 1, 0
"""The `v` of a keypoint: its confidence is above the threshold, or not, or it has no position (then x = y = 0)."""

CONFIDENCES = "keypoint_confidences"
"""Key of an annotation's confidences, one number in 0-1 per keypoint."""


def person_category(skeleton: Skeleton) -> dict[str, Any]:
    """Return the category of people: keypoint names, and limbs as pairs of 1-based positions."""
    limbs = [[skeleton.index(start) + 1, skeleton.index(end) + 1] for start, end in skeleton.limbs]
    return {
        "id": PERSON_CATEGORY,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.keypoints),
        "skeleton": limbs,
    }


def visibility(points: np.ndarray, confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Return `v`, int (..., K), of keypoints (..., K, 2) with confidences (..., K)."""
    predicted = np.isfinite(points).all(axis=-1)
    return np.where(predicted, np.where(confidence > threshold, ABOVE_THRESHOLD, BELOW_THRESHOLD), ABSENT)


def annotation(
    number: int,
    image_id: int,
    box: np.ndarray,
    box_score: float,
    points: np.ndarray,
    confidence: np.ndarray,
    threshold: float,
) -> dict[str, Any]:
    """Return the annotation of one person of keypoints (K, 2) in image pixels and confidences (K,).

    Positions are rounded to hundredths of a pixel, confidences to four digits. `v` follows from the confidence, as a network
    predicts that and not occlusion; `num_keypoints` counts the positions, as COCO's does. `score` is the box's times the mean
    of the confidences above 0.2 (`person_score`); `bbox` is the box that was cropped.
    """
    v = visibility(points, confidence, threshold)
    triplets = np.column_stack([np.where(v[:, None] == ABSENT, 0.0, points).round(2), v])
    return {
        "id": number,
        "image_id": image_id,
        "category_id": PERSON_CATEGORY,
        "keypoints": [int(value) if i % 3 == 2 else value for i, value in enumerate(triplets.ravel().tolist())],
        "num_keypoints": int((v > ABSENT).sum()),
        CONFIDENCES: [round(value, 4) for value in confidence.tolist()],
        "score": round(float(person_score(confidence, box_score)), 4),
        "bbox": [round(value, 2) for value in box.tolist()],
        "area": round(float(box[2] * box[3]), 2),
        "iscrowd": 0,
    }
