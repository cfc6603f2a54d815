import numpy as np
import pytest

from pipeline.metrics.bootstrap import Resamples
from pipeline.metrics.pck import error_score, keypoint_errors, pck, pck_score
from pipeline.pose.skeletons import COCO17, Skeleton

TWO = Skeleton("two", ("nose", "pelvis"))
NAN = [np.nan, np.nan]


@pytest.fixture
def truth(make_people):
    """Boxes 100 x 200; the third person isn't used."""
    points = [[[10, 10], [50, 50]], [[10, 10], NAN], [[10, 10], [50, 50]]]
    return make_people(TWO, points, use=np.array([True, True, False]))


def test_pck_by_hand(truth, make_poses):
    poses = make_poses(TWO, [[[30, 10], [50, 71]], [[10, 10.5], [0, 0]], [[0, 0], [0, 0]]])
    # 20 px is 0.1 of the longer side, 21 px is more.
    found = pck(truth, poses)
    assert found.keypoints == {"nose": 1.0, "pelvis": 0.0} and found.mean == pytest.approx(2 / 3)
    assert pck(truth, poses, threshold=0.05).keypoints["nose"] == 0.5


def test_errors_by_hand(truth, make_poses):
    poses = make_poses(TWO, [[[30, 10], [53, 54]], [[10, 14], [0, 0]]])
    assert keypoint_errors(truth, poses) == pytest.approx({"nose": (0.1 + 0.02) / 2, "pelvis": 0.025})


def test_missing_is_wrong_but_has_no_distance(truth, make_poses):
    poses = make_poses(COCO17, np.full((1, 17, 2), 10.0))  # knows no pelvis; the second person has no pose
    found = pck(truth, poses)
    assert found.keypoints == {"nose": 0.5, "pelvis": 0.0}
    errors = keypoint_errors(truth, poses)
    assert errors["nose"] == 0 and np.isnan(errors["pelvis"])


def test_nme_pools_what_is_predicted_and_pck_counts_the_rest_as_wrong(truth, make_poses):
    poses = make_poses(COCO17, np.full((2, 17, 2), 10.0) + np.array([[[0, 0]], [[20, 0]]]))  # knows no pelvis
    drawn = Resamples(np.array([500, 501, 502]), np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3]]))
    error, share = error_score(truth, poses, drawn), pck_score(truth, poses, drawn, threshold=0.05)
    assert error.value == pytest.approx(0.1 / 2) and share.value == pytest.approx(1 / 3)
    np.testing.assert_allclose(error.resampled, [0, 0.1, np.nan])  # the third person is not used
    np.testing.assert_allclose(share.resampled, [0.5, 0, np.nan])
    assert share.value == pck(truth, poses, threshold=0.05).mean


def test_nobody(truth, make_poses):
    poses = make_poses(TWO, np.zeros((0, 2, 2)))
    assert np.isnan(pck(truth.rows(np.arange(0)), poses).mean)
    assert pck(truth, poses).mean == 0
