"""Planted mistakes are found and named, right labels are not."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.labelling.consensus import consensus, tolerance
from pipeline.labelling.suspicion import suspicious_labels
from pipeline.pose.skeletons import COCO17
from tests.pipeline.labelling.persons import WRIST, WRIST_TOLERANCE, persons, predicting

NO_ONE = np.zeros((4, 17), bool)
RIGHT_WRIST, HIP, RIGHT_HIP = (COCO17.index(name) for name in ("right_wrist", "left_hip", "right_hip"))


def found(people, *predicted, excluded=NO_ONE, confidence=0.9):
    allowed = tolerance(people, COCO17)
    return suspicious_labels(
        people, COCO17, consensus(predicting(*predicted, confidence=confidence), allowed, 0.4), allowed, excluded
    )


def noisy(people, seed: int) -> np.ndarray:
    """What a good network says: up to 0.3 tolerances off in x and in y."""
    random = np.random.default_rng(seed)
    return people.keypoints + random.uniform(-0.3, 0.3, people.keypoints.shape) * tolerance(people, COCO17)[..., None]


def moved(people, row: int, keypoint: int, tolerances: float):
    keypoints = people.keypoints.copy()
    keypoints[row, keypoint, 1] += tolerances * tolerance(people, COCO17)[row, keypoint]
    return replace(people, keypoints=keypoints)


def exchanged(people, row: int, *pair: int):
    keypoints = people.keypoints.copy()
    keypoints[row, list(pair)] = keypoints[row, list(pair)[::-1]]
    return replace(people, keypoints=keypoints)


def names(listed) -> list[list[tuple[int, str, str]]]:
    return [[(s.row, s.keypoint, s.kind) for s in person] for person in listed]


def test_right_labels_are_not_suspected() -> None:
    people = persons(4)
    assert found(people, noisy(people, 0), noisy(people, 1)) == []


def test_planted_ones_are_found_the_furthest_first_with_their_numbers() -> None:
    right = persons(4)
    wrong = moved(moved(moved(right, 1, WRIST, 4.0), 3, HIP, 3.5), 3, 0, 9.0)
    listed = found(wrong, right.keypoints, right.keypoints)
    assert names(listed) == [
        [(3, "nose", "misplaced"), (3, "left_hip", "misplaced")],
        [(1, "left_wrist", "misplaced")],
    ]
    wrist = listed[1][0]
    assert wrist.tolerances == pytest.approx(4.0) and wrist.of_box == pytest.approx(4 * WRIST_TOLERANCE / 100)
    assert wrist.label == pytest.approx(tuple(wrong.keypoints[1, WRIST]))
    assert wrist.predicted == pytest.approx(tuple(right.keypoints[1, WRIST])) and wrist.confidence == 0.9


@pytest.mark.parametrize(("tolerances", "count"), [(2.9, 0), (3.1, 1)])
def test_from_three_tolerances_on(tolerances: float, count: int) -> None:
    right = persons(4)
    assert len(found(moved(right, 0, WRIST, tolerances), right.keypoints, right.keypoints)) == count


def test_only_what_two_agree_on_counts() -> None:
    right = persons(4)
    wrong, predicted = moved(right, 0, WRIST, 5.0), right.keypoints
    nothing = np.full_like(predicted, np.nan)
    assert len(found(wrong, predicted, predicted)) == 1
    assert found(wrong, predicted) == [] and found(wrong, predicted, nothing) == []
    assert found(wrong, predicted, predicted, confidence=[0.9, 0.4]) == []
    assert found(wrong, predicted, wrong.keypoints) == []  # one of them confirms the label
    assert found(wrong, predicted, predicted, wrong.keypoints) == []
    assert len(found(wrong, predicted, predicted, wrong.keypoints, confidence=[0.9, 0.9, 0.3])) == 1


def test_unlabelled_unused_and_excluded_ones_are_left_out() -> None:
    right = persons(4)
    wrong = moved(right, 0, WRIST, 5.0)
    excluded = NO_ONE.copy()
    excluded[0, WRIST] = True
    assert found(wrong, right.keypoints, right.keypoints, excluded=excluded) == []
    unused = replace(wrong, use=np.array([False, True, True, True]))
    assert found(unused, right.keypoints, right.keypoints) == []
    labelled = wrong.labelled.copy()
    labelled[0, WRIST] = False
    assert found(replace(wrong, labelled=labelled), right.keypoints, right.keypoints) == []


def test_exchanged_left_and_right() -> None:
    right = persons(4)
    listed = found(exchanged(right, 2, WRIST, RIGHT_WRIST), noisy(right, 0), noisy(right, 1))
    assert {s[:2] for s in names(listed)[0]} == {(2, "left_wrist"), (2, "right_wrist")}
    assert {s.kind for s in listed[0]} == {"left and right exchanged"} and len(listed) == 1


def hips(apart: float):
    """Hips so many tolerances from each other: hardly more than one in life."""
    people = persons(4)
    people.keypoints[:, RIGHT_HIP] = people.keypoints[:, HIP] + [apart * 2 * 0.107 * 50, 0]
    return people


def test_exchanged_hips_are_found_though_they_are_close() -> None:
    right = hips(1.3)
    listed = found(exchanged(right, 0, HIP, RIGHT_HIP), right.keypoints, right.keypoints)
    assert names(listed) == [
        [(0, "left_hip", "left and right exchanged"), (0, "right_hip", "left and right exchanged")]
    ]
    assert listed[0][0].tolerances == pytest.approx(1.3)
    right = hips(0.9)  # a difference that annotators have too
    assert found(exchanged(right, 0, HIP, RIGHT_HIP), right.keypoints, right.keypoints) == []


def test_between_the_two_places_is_not_exchanged() -> None:
    """Hips 1.6 tolerances apart, each label 1.02 from its own place and 0.58 from the other."""
    right = hips(1.6)
    keypoints = right.keypoints.copy()
    keypoints[0, [HIP, RIGHT_HIP], 0] += np.array([1.02, -1.02]) * 2 * 0.107 * 50
    assert found(replace(right, keypoints=keypoints), right.keypoints, right.keypoints) == []


def test_one_label_on_the_other_side() -> None:
    """The left wrist's label lies on the right wrist, whose own label is there too, or missing."""
    right = persons(4)
    keypoints = right.keypoints.copy()
    keypoints[0, WRIST] = keypoints[0, RIGHT_WRIST] + 1
    wrong = replace(right, keypoints=keypoints)
    expected = [[(0, "left_wrist", "on the other side")]]
    assert names(found(wrong, right.keypoints, right.keypoints)) == expected
    labelled = right.labelled.copy()
    labelled[0, RIGHT_WRIST] = False
    assert names(found(replace(wrong, labelled=labelled), right.keypoints, right.keypoints)) == expected


def test_the_other_side_has_to_be_agreed_on_too() -> None:
    right = persons(4)
    keypoints, doubtful = right.keypoints.copy(), right.keypoints.copy()
    keypoints[0, WRIST] = keypoints[0, RIGHT_WRIST]
    doubtful[0, RIGHT_WRIST] += 40
    listed = found(replace(right, keypoints=keypoints), right.keypoints, doubtful, confidence=[0.9, 0.8])
    assert names(listed) == [[(0, "left_wrist", "misplaced")]]


def test_the_midline_has_no_other_side() -> None:
    right = persons(4)
    assert names(found(moved(right, 0, 0, 30.0), right.keypoints, right.keypoints)) == [[(0, "nose", "misplaced")]]
