"""PCK of the torso: two people by hand. LSP's published evaluation counts a joint within 0.2 of the torso's diameter."""

import numpy as np
import pytest

from pipeline.metrics.accuracy import accuracy, resampled_scores
from pipeline.metrics.bootstrap import draw_resamples
from pipeline.metrics.score_names import main_score
from pipeline.metrics.torso_pck import torso_diameters, torso_pck, torso_pck_score
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import Skeleton

OWN = Skeleton("own", ("left_shoulder", "right_hip", "tail"))
TRUTH = np.array([[[0, 0], [30, 40], [100, 100]], [[10, 10], [10, 30], [60, 60]], [[5, 5], [9, 9], [50, 50]]], float)
"""Torsos of 50 and 20 pixels, so keypoints are correct up to 10 and 4; the third person's right hip is not labelled."""
LABELLED = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]], bool)


def people() -> People:
    n = len(TRUTH)
    return People(
        skeleton=OWN,
        person=np.arange(n),
        image=np.array([f"{i}.jpg" for i in range(n)]),
        image_id=np.arange(n),
        image_wh=np.full((n, 2), 200, np.int32),
        box=np.tile([0.0, 0.0, 120.0, 120.0], (n, 1)),
        area=np.full(n, 14400.0),
        crowd=np.zeros(n, bool),
        use=np.ones(n, bool),
        keypoints=TRUTH,
        labelled=LABELLED.copy(),
        head_box=np.full((n, 4), np.nan),
    )


def poses(shift: np.ndarray, skeleton: Skeleton = OWN) -> Poses:
    """The truth's keypoints that the skeleton has, moved along x by `shift` (3, 3)."""
    moved = TRUTH + np.dstack([shift, np.zeros_like(shift)])
    known = [OWN.index(keypoint) for keypoint in skeleton.keypoints]
    n = len(TRUTH)
    return Poses(skeleton, np.arange(n), moved[:, known], np.ones((n, len(known))), np.ones(n), np.arange(n))


def test_the_diameter_is_from_left_shoulder_to_right_hip() -> None:
    np.testing.assert_array_equal(torso_diameters(people()), [50, 20, np.nan])


def test_the_limit_belongs_to_correct_and_joints_count_the_same() -> None:
    """Left shoulder: 1 of 2; right hip: 2 of 2; tail: 1 of 2. The third person counts for nobody."""
    shift = np.array([[10.0, 0, 10.01], [4.01, 4, 3], [0, 0, 0]])
    assert torso_pck(people(), poses(shift)) == {"left_shoulder": 50, "right_hip": 100, "tail": 50}
    name, value = accuracy("pck", people(), poses(shift))
    assert name == "PCK@0.2 torso" and value == pytest.approx(200 / 3)


def test_a_keypoint_that_is_not_predicted_is_wrong() -> None:
    shown = poses(np.zeros((3, 3)), Skeleton("short", ("left_shoulder", "right_hip")))
    assert torso_pck(people(), shown) == {"left_shoulder": 100, "right_hip": 100, "tail": 0}


def test_an_unlabelled_keypoint_counts_for_nobody() -> None:
    truth = people()
    truth.labelled[:, 2] = False
    resamples = draw_resamples(truth.image_id, 50, [0])
    score = torso_pck_score(truth, poses(np.zeros((3, 3))), resamples)
    assert score.value == 100
    assert set(score.resampled[~np.isnan(score.resampled)]) == {100}  # NaN where only the third person is drawn
    truth.labelled[:] = False
    assert np.isnan(torso_pck_score(truth, poses(np.zeros((3, 3))), resamples).value)


def test_a_dataset_that_trains_nobody_is_scored_on_shared_keypoints() -> None:
    student = Skeleton("unified", ("right_hip", "left_shoulder"))
    truth, shown = people(), poses(np.zeros((3, 3)), student)
    resamples = draw_resamples(truth.image_id, 10, [0])
    scores = resampled_scores("pck", False, truth, shown, student, resamples)
    assert scores["PCK-2@0.2 torso"].value == 100 and "PCK@0.2 torso" not in scores
    assert main_score(scores) == "PCK-2@0.2 torso"
    trained = resampled_scores("pck", True, truth, shown, student, resamples)
    assert trained["PCK@0.2 torso"].value == pytest.approx(200 / 3) and main_score(trained) == "PCK@0.2 torso"
