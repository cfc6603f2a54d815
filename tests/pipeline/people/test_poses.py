import numpy as np

from pipeline.people.poses import keypoints_as, keypoints_of_people
from pipeline.pose.skeletons import Skeleton

THREE = Skeleton("three", ("nose", "left_eye", "right_eye"))


def test_keypoints_come_by_name(make_poses):
    poses = make_poses(THREE, [[[1, 2], [3, 4], [5, 6]]])
    np.testing.assert_array_equal(
        keypoints_as(poses, ("right_eye", "pelvis", "nose"))[0], [[5, 6], [np.nan] * 2, [1, 2]]
    )


def test_people_find_their_best_pose_by_id(make_people, make_poses):
    truth = make_people(THREE, np.zeros((4, 3, 2)))  # ids 10 to 13
    points = np.arange(5)[:, None, None] * np.ones((5, 3, 2))
    poses = make_poses(THREE, points, person=np.array([12, 10, 12, -1, 99]), score=np.array([0.5, 1, 0.9, 1, 1]))
    found = keypoints_of_people(truth, poses, THREE.keypoints)[:, 0, 0]
    np.testing.assert_array_equal(found, [1, np.nan, 2, np.nan])


def test_no_poses_at_all(make_people, make_poses):
    truth = make_people(THREE, np.zeros((2, 3, 2)))
    poses = make_poses(THREE, np.zeros((0, 3, 2)))
    assert np.isnan(keypoints_of_people(truth, poses, THREE.keypoints)).all()
    assert keypoints_of_people(truth.rows(np.arange(0)), poses, THREE.keypoints).shape == (0, 3, 2)
