"""Labels stay, what is missing comes from the right source, and guesses that are somebody else's do not get in."""

import numpy as np
import pytest

from pipeline.labels.consensus import consensus, tolerance
from pipeline.labels.fill import LABEL, NOBODY, at_hand, fill, labels_in
from pipeline.labels.neighbours import on_another, on_other_side
from pipeline.skeletons import COCO17, MPII16, union
from tests.pipeline.labels.persons import WRIST, persons, saying

UNIFIED = union([COCO17, MPII16])
NOWHERE = np.zeros((1, 17), bool)


def filled(people, opinions, barred=NOWHERE, threshold: float = 0.4):
    found = consensus(opinions, tolerance(people, COCO17), threshold)
    return fill(people, COCO17, opinions, found, barred)


def without_wrist(**others):
    people = persons(**others)
    people.labelled[:, WRIST] = False
    said = people.keypoints.copy()
    people.keypoints[:, WRIST] = 0
    return people, said


def test_labels_stay_and_the_missing_one_is_filled() -> None:
    people, said = without_wrist()
    found = filled(people, saying(said + 1.25, said + 1.75, confidence=[0.9, 0.3]))
    others = np.arange(17) != WRIST
    assert (found.keypoints[0, others] == people.keypoints[0, others]).all()
    assert (found.source[0, others] == LABEL).all() and (found.confidence[0, others] == 1).all()
    assert found.source[0, WRIST] == "a" and found.confidence[0, WRIST] == 0.9
    assert found.keypoints[0, WRIST] == pytest.approx(said[0, WRIST] + 1.25)


def test_several_sources_are_all_named() -> None:
    people, said = without_wrist()
    assert filled(people, saying(said, said + 1)).source[0, WRIST] == "a + b"


@pytest.mark.parametrize("why", ["unsure", "outside", "barred", "not in use"])
def test_what_stays_missing(why: str) -> None:
    people, said = without_wrist(**({"use": np.array([False])} if why == "not in use" else {}))
    if why == "outside":
        said[0, WRIST] = [299.6, 100.0]  # the picture is 300 wide: its last pixel ends at 299.5
    barred = NOWHERE.copy()
    barred[0, WRIST] = why == "barred"
    found = filled(people, saying(said, confidence=0.4 if why == "unsure" else 0.9), barred)
    assert found.source[0, WRIST] == NOBODY and found.confidence[0, WRIST] == 0
    assert found.keypoints[0, WRIST].tolist() == [0, 0]
    said[0, WRIST] = [299.4, 100.0]
    assert why != "outside" or filled(people, saying(said)).source[0, WRIST] == "a"


def test_labels_in_a_wider_skeleton() -> None:
    people = persons(2)
    points, there = labels_in(people, UNIFIED)
    assert points.shape == (2, 21, 2) and (points[:, :17] == people.keypoints).all() and not points[:, 17:].any()
    assert there[:, :17].all() and not there[:, 17:].any()


def heard(said, people, confidence=0.9) -> list[bool]:
    opinions = saying(said, confidence=confidence)
    kept = at_hand(opinions, *labels_in(people, COCO17), tolerance(people, COCO17), 0.4)
    return (kept.confidence[0] > 0).any(axis=1).tolist()


def test_who_looks_at_somebody_else_is_not_asked_about_this_person() -> None:
    people = persons(3)
    said = people.keypoints.copy()
    said[1] += 60
    assert heard(said, people) == [True, False, True]
    said = people.keypoints.copy()
    said[1, :9] += 60  # 8 of 17 right: an OKS of 0.47
    assert heard(said, people) == [True, False, True]
    said[1, 8] -= 60  # 9 of 17: 0.53
    assert heard(said, people) == [True, True, True]


def test_who_is_sure_of_no_labelled_keypoint_is_not_asked() -> None:
    people, said = without_wrist()
    opinions = saying(said, confidence=0.3)
    opinions.confidence[0, 0, WRIST] = 0.9
    kept = at_hand(opinions, *labels_in(people, COCO17), tolerance(people, COCO17), 0.4)
    assert not kept.confidence.any() and opinions.confidence.all()


def test_who_has_no_label_that_the_network_knows_cannot_be_judged() -> None:
    people = persons()
    people.labelled[:] = False
    assert heard(people.keypoints + 60, people) == [True]


def test_a_keypoint_on_the_neighbours_label() -> None:
    """Two people 9 px apart; half a wrist's tolerance is 3.1 px, half a nose's 1.3 px."""
    people = persons(2)
    points = people.keypoints.copy()
    points[0, WRIST, 0] += 9 - 3.0
    points[0, 0, 0] += 9 - 1.4
    found = on_another(people.image_id, points, people.keypoints, people.labelled, tolerance(people, COCO17))
    assert np.argwhere(found).tolist() == [[0, WRIST]]
    elsewhere = on_another(np.array([0, 1]), points, people.keypoints, people.labelled, tolerance(people, COCO17))
    assert not elsewhere.any()
    people.labelled[1, WRIST] = False
    assert not on_another(people.image_id, points, people.keypoints, people.labelled, tolerance(people, COCO17)).any()


def test_a_keypoint_on_the_other_sides_label() -> None:
    people = persons()
    points, right = people.keypoints.copy(), COCO17.index("right_wrist")
    points[0, WRIST] = people.keypoints[0, right] + [3.0, 0]
    arguments = (people.labelled, COCO17.mirror, tolerance(people, COCO17))
    assert np.argwhere(on_other_side(points, people.keypoints, *arguments)).tolist() == [[0, WRIST]]
    points[0, WRIST] += [0.2, 0]
    assert not on_other_side(points, people.keypoints, *arguments).any()
