"""Offsets of a teacher from labels: constructed offsets are measured, and none is measured where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton
from pipeline.training.calibration import Calibration, calibrate
from tests.pipeline.examples import people

LEFT, RIGHT, NOSE, ANKLE = (COCO17.index(k) for k in ("left_hip", "right_hip", "nose", "left_ankle"))
SPREAD = 0.02
"""Standard deviation of a teacher's error on each axis, in longer box sides."""


def poses_of(truth: People, skeleton: Skeleton = COCO17, seed: int = 1) -> Poses:
    """Return poses of a teacher whose only error is noise of SPREAD, with confidence 1."""
    random = np.random.default_rng(seed)
    away = random.normal(0, SPREAD, (len(truth), len(skeleton), 2)) * truth.box[:, 2:].max(axis=1)[:, None, None]
    positions = skeleton.positions_in(truth.skeleton).clip(0)
    ones = np.ones((len(truth), len(skeleton)))
    return Poses(skeleton, truth.image_id, truth.keypoints[:, positions] + away, ones, ones[:, 0], truth.person)


def shifted(poses: Poses, truth: People, keypoint: int, by: tuple[float, float]) -> Poses:
    """Return the poses with one keypoint moved by that many longer box sides."""
    points = poses.keypoints.copy()
    points[:, keypoint] += np.array(by) * truth.box[:, 2:].max(axis=1)[:, None]
    return replace(poses, keypoints=points)


TRUTH = people(500)


def test_offsets_are_found():
    """Outwards by 3 %, down by 2: four standard errors of a median of 1,000, 1.2533 x 0.02 / root 1,000, are 0.0032."""
    poses = shifted(shifted(poses_of(TRUTH), TRUTH, LEFT, (0.03, 0.02)), TRUTH, RIGHT, (-0.03, 0.02))
    found = calibrate("coco", "mpii", TRUTH, poses, 0.5)
    assert found.keypoints == COCO17.keypoints
    assert found.offset[LEFT] == pytest.approx([0.03, 0.02], abs=0.0032)
    assert found.offset[RIGHT] == pytest.approx([-0.03, 0.02], abs=0.0032)
    assert (np.abs(np.delete(found.offset, [LEFT, RIGHT, NOSE], axis=0)) < 0.0032).all()
    # Of the midline 500, twice the people per standard error.
    assert found.offset[NOSE, 0] == 0
    assert abs(found.offset[NOSE, 1]) < 0.0045
    assert (found.count[[LEFT, RIGHT, NOSE]] == [1000, 1000, 500]).all()


def test_standard_errors_are_those_of_repeated_measurements():
    """Of 200 measurements on 200 people each; their own spread is known to a twentieth, and three times that is allowed."""
    truth = people(200)
    measured = [calibrate("t", "d", truth, poses_of(truth, seed=n), 0.5) for n in range(200)]
    spread = np.std([one.offset[[NOSE, LEFT], 1] for one in measured], axis=0)
    error = np.mean([one.error[[NOSE, LEFT], 1] for one in measured], axis=0)
    assert error == pytest.approx(spread, rel=0.15)


def test_left_and_right_mirror_each_other():
    """Left and right keypoints are pooled, so mirrored people have the mirrored offset."""
    found = calibrate("t", "d", TRUTH, shifted(poses_of(TRUTH), TRUTH, LEFT, (0.04, 0.02)), 0.5)
    assert np.allclose(found.offset[COCO17.mirror], found.offset * [-1, 1], rtol=0, atol=1e-12)
    assert found.offset[LEFT] == pytest.approx([0.02, 0.01], abs=0.005)  # half of them; the median of two heaps


def test_a_few_gross_errors_do_not_move_it():
    """A tenth of the hips are on another person, a box away: the median moves by 0.14 of a spread, the mean would by 5."""
    poses = poses_of(TRUTH)
    wrong = replace(poses, keypoints=poses.keypoints.copy())
    wrong.keypoints[:50, LEFT] += TRUTH.box[:50, 2:].max(axis=1)[:, None]
    assert np.abs(calibrate("t", "d", TRUTH, wrong, 0.5).offset[LEFT]).max() < 0.2 * SPREAD


def test_only_labelled_confident_people_in_use_count():
    labelled, use, confidence = np.ones((500, 17), bool), np.ones(500, bool), np.ones((500, 17))
    labelled[:100, ANKLE] = False
    confidence[100:200, ANKLE] = 0.5
    use[200:300] = False
    poses = shifted(poses_of(TRUTH), TRUTH, ANKLE, (0.0, 0.03))
    far = poses.keypoints.copy()
    far[:300, ANKLE] += 1000.0
    poses = replace(poses, keypoints=far, confidence=confidence)
    found = calibrate("t", "d", replace(TRUTH, labelled=labelled, use=use), poses, 0.5)
    assert found.count[ANKLE] == 200 + 400  # and the right ankles of everybody in use
    alone = replace(TRUTH, labelled=labelled & (np.arange(17) == ANKLE), use=use)
    assert calibrate("t", "d", alone, poses, 0.5).offset[ANKLE, 1] == pytest.approx(0.03, abs=0.007)


def test_keypoints_are_matched_by_name():
    """A COCO teacher shares 12 keypoints with MPII's people; its nose is not among them."""
    truth = people(60, MPII16)
    found = calibrate("t", "d", truth, poses_of(truth), 0.5)
    assert set(found.keypoints) == set(MPII16.keypoints) & set(COCO17.keypoints)
    assert len(found.keypoints) == 12
    assert np.abs(found.offset).max() < 0.02
    correction = found.correction(COCO17, truth.box)
    assert correction.shape == (60, 17, 2) and not correction[:, NOSE].any()


def test_nobody_and_too_few_have_no_error():
    labelled = np.zeros((500, 17), bool)
    labelled[:9, NOSE] = True
    found = calibrate("t", "d", replace(TRUTH, labelled=labelled), poses_of(TRUTH), 0.5)
    assert (found.count[NOSE], found.count[ANKLE]) == (9, 0)
    assert np.isfinite(found.offset[NOSE]).all() and np.isnan(found.error[NOSE, 1])
    assert np.isnan(found.offset[ANKLE]).all()
    assert not found.correction(COCO17, TRUTH.box).any()


def test_correction_is_minus_what_is_significant():
    """Boxes of 20 x 50 and 80 x 40: longer sides 50 and 80. x of the hip is within two errors, and so is left."""
    one = Calibration(
        "t",
        "d",
        ("left_hip", "nose"),
        np.array([[0.01, -0.02], [0.0, 0.1]]),
        np.array([[0.006, 0.009], [0.0, np.nan]]),
        np.array([20, 5]),
    )
    assert one.significant().tolist() == [[False, True], [False, False]]
    found = one.correction(COCO17, np.array([[0.0, 0, 20, 50], [5.0, 5, 80, 40]]))
    expected = np.zeros((2, 17, 2))
    expected[:, LEFT, 1] = [0.02 * 50, 0.02 * 80]
    assert np.allclose(found, expected, rtol=0, atol=1e-6)
    assert one.correction(COCO17, np.array([[0.0, 0, 20, 50]]), times=1.0)[0, LEFT] == pytest.approx([-0.5, 1.0])


def test_a_corrected_teacher_is_not_off_any_more():
    """A second measurement finds no offset, to three standard errors of the correction: 1.2533 x 0.02 / root 1,000 each."""
    poses = shifted(shifted(poses_of(TRUTH), TRUTH, LEFT, (0.03, 0.02)), TRUTH, RIGHT, (-0.03, 0.02))
    by = calibrate("t", "d", TRUTH, poses, 0.5).correction(COCO17, TRUTH.box)
    again = calibrate("t", "d", TRUTH, replace(poses, keypoints=poses.keypoints + by), 0.5)
    assert np.abs(again.offset[[LEFT, RIGHT]]).max() < 1e-6
    assert np.abs(again.offset).max() < 0.0045
