"""Predictions by name and number, tolerances by hand, means only of those who agree."""

import numpy as np
import pytest

from pipeline.labelling.consensus import MIN_TOLERANCE, consensus, predictions_of, tolerance
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17, MPII16, union
from tests.pipeline.labelling.persons import WRIST, WRIST_TOLERANCE, persons, predicting

UNIFIED = union([COCO17, MPII16])


def poses(numbers: list[int], skeleton=COCO17) -> Poses:
    n, k = len(numbers), len(skeleton)
    keypoints = np.arange(n * k * 2, dtype=float).reshape(n, k, 2)
    confidence = np.arange(1, n * k + 1).reshape(n, k) / (n * k)
    return Poses(skeleton, np.zeros(n, np.int64), keypoints, confidence, np.ones(n), np.array(numbers))


def test_poses_go_to_their_person_and_keypoint() -> None:
    people = persons(3)  # numbers 100, 107, 114
    found = predictions_of({"teacher coco": poses([114, 100]), "teacher mpii": poses([107], MPII16)}, people, UNIFIED)
    assert found.names == ("teacher coco", "teacher mpii") and found.keypoints.shape == (2, 3, 21, 2)
    assert found.keypoints[0, 2, 0].tolist() == [0, 1] and found.keypoints[0, 0, 0].tolist() == [34, 35]
    assert np.isnan(found.keypoints[0, 1]).all() and not found.confidence[0, 1].any()
    at = UNIFIED.index("head_top")
    assert found.keypoints[1, 1, at].tolist() == [18, 19] and found.confidence[1, 1, at] == 10 / 16
    assert np.isnan(found.keypoints[1, :, 0]).all() and not found.confidence[1, :, 0].any()  # MPII has no nose


def test_a_keypoint_without_a_place_has_no_confidence() -> None:
    one = poses([100])
    one.keypoints[0, 3] = np.nan
    found = predictions_of({"teacher coco": one}, persons(), COCO17)
    assert found.confidence[0, 0, 3] == 0 and found.confidence[0, 0, 4] == 5 / 17


def test_tolerance_by_hand() -> None:
    """Twice the sigma times the root of the area, 30, and where that is wider than half the box, 50; never below a pixel."""
    people = persons(3, area=np.array([900.0, 10000.0, 25.0]))
    found = tolerance(people, UNIFIED)[:, UNIFIED.index("left_wrist")]
    assert found == pytest.approx([2 * 0.062 * 30, WRIST_TOLERANCE, MIN_TOLERANCE])


def two(apart: float, confidence: list[float], threshold: float = 0.4):
    people = persons()
    other = people.keypoints + np.array([apart, 0.0])
    found = consensus(predicting(people.keypoints, other, confidence=confidence), tolerance(people, COCO17), threshold)
    return found.keypoints[0, WRIST] - people.keypoints[0, WRIST], found.confidence[0, WRIST], found, WRIST


@pytest.mark.parametrize("apart", [6.1, -6.1])
def test_two_that_agree_are_averaged_by_confidence(apart: float) -> None:
    offset, confidence, found, k = two(apart, [0.6, 0.9])
    assert offset == pytest.approx([apart * 0.9 / 1.5, 0]) and confidence == 0.9
    assert found.unanimous[0, k] and found.agreeing[:, 0, k].all()


def test_of_two_that_do_not_the_surer_one_stands_alone() -> None:
    offset, confidence, found, k = two(6.3, [0.6, 0.9])
    assert offset == pytest.approx([6.3, 0]) and confidence == 0.9
    assert not found.unanimous[0, k] and found.agreeing[:, 0, k].tolist() == [False, True]


def test_who_is_not_above_the_threshold_is_not_heard() -> None:
    offset, confidence, found, k = two(6.1, [0.9, 0.4])
    assert offset == pytest.approx([0, 0]) and confidence == 0.9 and not found.unanimous[0, k]
    offset, confidence, found, k = two(6.1, [0.4, 0.3])
    assert np.isnan(offset).all() and confidence == 0 and not found.agreeing.any()


def test_a_third_that_is_sure_and_elsewhere_ends_the_agreement() -> None:
    people = persons()
    at = people.keypoints
    found = consensus(predicting(at, at + 1, at + 40, confidence=[0.9, 0.8, 0.5]), tolerance(people, COCO17), 0.4)
    assert found.agreeing[:, 0, WRIST].tolist() == [True, True, False] and not found.unanimous.any()
    found = consensus(predicting(at, at + 1, at + 40, confidence=[0.9, 0.8, 0.3]), tolerance(people, COCO17), 0.4)
    assert found.unanimous[0, WRIST]


def test_nobody_asked() -> None:
    found = predictions_of({}, persons(2), COCO17)
    assert found.keypoints.shape == (0, 2, 17, 2)
