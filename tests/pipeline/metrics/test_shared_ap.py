"""AP over the keypoints that a neutral set shares with the students."""

import numpy as np

from pipeline.metrics.accuracy import ap_of_shared_keypoints
from pipeline.metrics.bootstrap import draw_resamples
from pipeline.people.poses import Poses
from pipeline.pose.own_skeletons import checked_skeleton
from tests.pipeline.examples import people

HAND = checked_skeleton("hand", ["palm", "thumb_tip", "little_tip"], "here")


def test_where_no_shared_keypoint_is_cocos_the_shared_ones_alone_are_scored() -> None:
    truth = people(3, HAND)
    poses = Poses(HAND, truth.image_id, truth.keypoints, np.ones((3, 3)), np.ones(3), truth.person)
    student = checked_skeleton("student", ["palm", "thumb_tip"], "here")
    scores = ap_of_shared_keypoints(truth, poses, student, draw_resamples(truth.image_id, 5, [0]))
    assert list(scores) == ["AP-2"] and scores["AP-2"].value == 100
