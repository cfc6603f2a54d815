"""Labels stay, what is missing comes from the right source, and guesses that are somebody else's do not get in."""

import numpy as np
import pytest

from pipeline.labelling.consensus import consensus, tolerance
from pipeline.labelling.fill import LABEL_SOURCE, NO_SOURCE, fill_missing, labels_as, without_mistaken_people
from pipeline.labelling.neighbours import at_another_persons_label, at_other_sides_label
from pipeline.pose.skeletons import COCO17, MPII16, union
from tests.pipeline.labelling.persons import WRIST, persons, predicting

UNIFIED = union([COCO17, MPII16])
NOWHERE = np.zeros((1, 17), bool)


def filled(people, predictions, excluded=NOWHERE, threshold: float = 0.4):
    found = consensus(predictions, tolerance(people, COCO17), threshold)
    return fill_missing(people, COCO17, predictions.names, found, excluded)


def without_wrist(**others):
    people = persons(**others)
    people.labelled[:, WRIST] = False
    predicted = people.keypoints.copy()
    people.keypoints[:, WRIST] = 0
    return people, predicted


def test_labels_stay_and_the_missing_one_is_filled() -> None:
    people, predicted = without_wrist()
    found = filled(people, predicting(predicted + 1.25, predicted + 1.75, confidence=[0.9, 0.3]))
    others = np.arange(17) != WRIST
    assert (found.keypoints[0, others] == people.keypoints[0, others]).all()
    assert (found.source[0, others] == LABEL_SOURCE).all() and (found.confidence[0, others] == 1).all()
    assert found.source[0, WRIST] == "a" and found.confidence[0, WRIST] == 0.9
    assert found.keypoints[0, WRIST] == pytest.approx(predicted[0, WRIST] + 1.25)


def test_several_sources_are_all_named() -> None:
    people, predicted = without_wrist()
    assert filled(people, predicting(predicted, predicted + 1)).source[0, WRIST] == "a + b"


@pytest.mark.parametrize("why", ["unsure", "outside", "excluded", "not in use"])
def test_what_stays_missing(why: str) -> None:
    people, predicted = without_wrist(**({"use": np.array([False])} if why == "not in use" else {}))
    if why == "outside":
        predicted[0, WRIST] = [299.6, 100.0]  # the image is 300 wide: its last pixel ends at 299.5
    excluded = NOWHERE.copy()
    excluded[0, WRIST] = why == "excluded"
    found = filled(people, predicting(predicted, confidence=0.4 if why == "unsure" else 0.9), excluded)
    assert found.source[0, WRIST] == NO_SOURCE and found.confidence[0, WRIST] == 0
    assert found.keypoints[0, WRIST].tolist() == [0, 0]
    predicted[0, WRIST] = [299.4, 100.0]
    assert why != "outside" or filled(people, predicting(predicted)).source[0, WRIST] == "a"


def test_labels_in_a_wider_skeleton() -> None:
    people = persons(2)
    points, there = labels_as(people, UNIFIED)
    assert points.shape == (2, 21, 2) and (points[:, :17] == people.keypoints).all() and not points[:, 17:].any()
    assert there[:, :17].all() and not there[:, 17:].any()


def kept_people(predicted, people, confidence=0.9) -> list[bool]:
    predictions = predicting(predicted, confidence=confidence)
    kept = without_mistaken_people(predictions, *labels_as(people, COCO17), tolerance(people, COCO17), 0.4)
    return (kept.confidence[0] > 0).any(axis=1).tolist()


def test_who_looks_at_somebody_else_is_not_asked_about_this_person() -> None:
    people = persons(3)
    predicted = people.keypoints.copy()
    predicted[1] += 60
    assert kept_people(predicted, people) == [True, False, True]
    predicted = people.keypoints.copy()
    predicted[1, :9] += 60  # 8 of 17 right: an OKS of 0.47
    assert kept_people(predicted, people) == [True, False, True]
    predicted[1, 8] -= 60  # 9 of 17: 0.53
    assert kept_people(predicted, people) == [True, True, True]


def test_who_is_sure_of_no_labelled_keypoint_is_not_asked() -> None:
    people, predicted = without_wrist()
    predictions = predicting(predicted, confidence=0.3)
    predictions.confidence[0, 0, WRIST] = 0.9
    kept = without_mistaken_people(predictions, *labels_as(people, COCO17), tolerance(people, COCO17), 0.4)
    assert not kept.confidence.any() and predictions.confidence.all()


def test_who_has_no_label_that_the_network_knows_cannot_be_judged() -> None:
    people = persons()
    people.labelled[:] = False
    assert kept_people(people.keypoints + 60, people) == [True]


def test_a_keypoint_on_the_neighbours_label() -> None:
    """Two people 9 px apart; half a wrist's tolerance is 3.1 px, half a nose's 1.3 px."""
    people = persons(2)
    points = people.keypoints.copy()
    points[0, WRIST, 0] += 9 - 3.0
    points[0, 0, 0] += 9 - 1.4
    found = at_another_persons_label(
        people.image_id, points, people.keypoints, people.labelled, tolerance(people, COCO17)
    )
    assert np.argwhere(found).tolist() == [[0, WRIST]]
    elsewhere = at_another_persons_label(
        np.array([0, 1]), points, people.keypoints, people.labelled, tolerance(people, COCO17)
    )
    assert not elsewhere.any()
    people.labelled[1, WRIST] = False
    assert not at_another_persons_label(
        people.image_id, points, people.keypoints, people.labelled, tolerance(people, COCO17)
    ).any()


def test_nearness_to_a_neighbours_label_is_by_the_points_own_person() -> None:
    """The first person's point lies 5 px from the second one's label; they have tolerances of 1 and of 20 px."""
    image_id, labelled = np.array([0, 0]), np.array([[False], [True]])
    points, labels = np.array([[[105.0, 100]], [[500.0, 500]]]), np.array([[[0.0, 0]], [[100.0, 100]]])
    for own, other, expected in ((1.0, 20.0, False), (20.0, 1.0, True)):
        found = at_another_persons_label(image_id, points, labels, labelled, np.array([[own], [other]]))
        assert found.tolist() == [[expected], [False]]


def test_a_keypoint_on_the_other_sides_label() -> None:
    people = persons()
    points, right = people.keypoints.copy(), COCO17.index("right_wrist")
    points[0, WRIST] = people.keypoints[0, right] + [3.0, 0]
    arguments = (people.labelled, COCO17.mirror, tolerance(people, COCO17))
    assert np.argwhere(at_other_sides_label(points, people.keypoints, *arguments)).tolist() == [[0, WRIST]]
    points[0, WRIST] += [0.2, 0]
    assert not at_other_sides_label(points, people.keypoints, *arguments).any()
