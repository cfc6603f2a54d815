"""Predicted people as COCO entries: every field by hand."""

import numpy as np

from pipeline.datasets.coco_document import annotation, person_category, visibility
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton, union


def test_the_category_joins_keypoints_by_positions_from_one() -> None:
    category = person_category(Skeleton("four", ("left_hip", "nose", "left_knee", "left_eye")))
    assert category["keypoints"] == ["left_hip", "nose", "left_knee", "left_eye"]
    assert category["skeleton"] == [[2, 4], [1, 3]]
    assert (category["id"], category["name"]) == (1, "person")
    unified = person_category(union((COCO17, MPII16)))
    assert len(unified["keypoints"]) == 21 and [20, 21] in unified["skeleton"]  # upper_neck to head_top


def test_visibility_is_by_confidence() -> None:
    points = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [np.nan, np.nan]])
    assert visibility(points, np.array([0.9, 0.2, 0.1, 0.9]), 0.2).tolist() == [2, 1, 1, 0]


def test_a_person() -> None:
    """The score is the box's 0.5 times the mean of the confidences above 0.2: 0.5 x (0.9 + 0.6) / 2."""
    points = np.array([[1.234, 2.0], [30.0, 40.0], [np.nan, np.nan], [5.0, 6.0]])
    confidence = np.array([0.9, 0.1, 0.0, 0.6])
    entry = annotation(3, 42, np.array([1.0, 2.0, 30.0, 40.126]), 0.5, points, confidence, 0.2)
    assert entry == {
        "id": 3,
        "image_id": 42,
        "category_id": 1,
        "keypoints": [1.23, 2.0, 2, 30.0, 40.0, 1, 0.0, 0.0, 0, 5.0, 6.0, 2],
        "num_keypoints": 3,
        "keypoint_confidences": [0.9, 0.1, 0.0, 0.6],
        "score": 0.375,
        "bbox": [1.0, 2.0, 30.0, 40.13],
        "area": 1203.78,
        "iscrowd": 0,
    }
