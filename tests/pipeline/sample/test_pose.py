import numpy as np
import pytest

from pipeline.sample.body import BODY, Build, pose_body, sample_build
from pipeline.sample.camera import image_from_level, look_at
from pipeline.sample.pose import Pose, sample_pose

ADULT = Build(stature=1.73, girth=1.0, shoulders=1.0, hips=1.0)


def standing(**angles) -> Pose:
    straight = dict.fromkeys(("bend", "sway", "twist", "pitch", "lean", "nod", "tilt", "turn", "lift"), 0.0)
    return Pose(**(dict(arms=np.zeros((2, 4)), legs=np.zeros((2, 4)), seat=False) | straight | angles))


def bent(limb: int, angle: float) -> np.ndarray:
    """Left limb's angles, the right one straight."""
    angles = np.zeros((2, 4))
    angles[0, limb] = angle
    return angles


def test_a_standing_body_is_as_tall_as_its_stature():
    body = pose_body(ADULT, standing())
    heights = body.keypoints[:, 1]
    assert heights.max() == body.at("head_top")[1]
    assert heights.max() - heights.min() == pytest.approx(1.73, abs=0.05)
    assert pose_body(Build(1.4, 1, 1, 1), standing()).at("head_top")[1] == pytest.approx(heights.max() * 1.4 / 1.73)


def test_a_standing_body_is_its_own_mirror_image():
    points = pose_body(ADULT, standing()).keypoints
    np.testing.assert_allclose(points[BODY.mirror] * (-1, 1, 1), points, atol=1e-12)
    assert points[BODY.index("left_shoulder"), 0] > 0.15


@pytest.mark.parametrize(
    ("part", "angle", "keypoint", "axis", "sign"),
    [
        ("arms", 0, "left_elbow", 2, 1),  # swing brings the elbow forward
        ("arms", 1, "left_elbow", 0, 1),  # spread brings the left elbow to the left
        ("arms", 3, "left_wrist", 2, 1),  # an elbow bends forward
        ("legs", 0, "left_knee", 2, 1),  # swing brings the knee forward
        ("legs", 1, "left_knee", 0, 1),  # spread brings the left knee to the left
        ("legs", 3, "left_ankle", 2, -1),  # a knee bends backward
    ],
)
def test_joints_turn_the_way_joints_turn(part, angle, keypoint, axis, sign):
    straight = pose_body(ADULT, standing()).at(keypoint)
    moved = pose_body(ADULT, standing(**{part: bent(angle, 40)})).at(keypoint)
    assert sign * (moved - straight)[axis] > 0.1


def test_bones_keep_their_length_in_every_pose():
    rng = np.random.default_rng(0)
    for style in ("everyday", "sport"):
        for _ in range(20):
            body = pose_body(ADULT, sample_pose(style, rng))
            for joints, length in ((("elbow", "wrist"), 0.25), (("hip", "knee"), 0.43), (("knee", "ankle"), 0.41)):
                for side in ("left", "right"):
                    bone = body.at(f"{side}_{joints[0]}") - body.at(f"{side}_{joints[1]}")
                    assert np.linalg.norm(bone) == pytest.approx(length)


def test_everyday_people_are_upright_and_athletes_not_always():
    rng = np.random.default_rng(0)

    def upright(style: str) -> float:
        bodies = [pose_body(sample_build(rng), sample_pose(style, rng)) for _ in range(100)]
        return float(np.mean([body.at("head_top")[1] > 0.5 for body in bodies]))

    assert upright("everyday") == 1.0
    assert 0.3 < upright("sport") < 0.9


def test_facing_the_camera_puts_the_left_shoulder_on_the_images_right():
    body = pose_body(ADULT, standing())
    pair = np.stack([body.at("left_shoulder"), body.at("right_shoulder")])
    for yaw, sign in ((0, 1), (40, 1), (180, -1)):
        left, right = look_at(yaw, 0, 0, 5, 100).project(pair)[0]
        assert sign * (left[0] - right[0]) > 20
    nose = look_at(90, 0, 0, 5, 100).project(body.at("nose")[None])[0][0]
    assert nose[0] > 5, "at yaw 90 a person looks to the image's right"


def test_projection_up_is_up_and_near_is_large():
    view = look_at(0, 0, 0, distance=5, scale=100)
    pixels, scale, nearness = view.project(np.array([[0, 1, 0], [0, 0, 1.0]]))
    np.testing.assert_allclose(pixels, [[0, -100], [0, 0]])
    np.testing.assert_allclose(scale, [100, 125])
    np.testing.assert_allclose(nearness, [0, 1])


def test_the_image_rolls_with_the_people():
    rolled = look_at(0, 0, 30, 5, 100).project(np.array([[0, 1.0, 0]]))[0][0]
    level = look_at(0, 0, 0, 5, 100).project(np.array([[0, 1.0, 0]]))[0][0]
    affine = image_from_level(30, 256, 256)
    np.testing.assert_allclose(affine[:, :2] @ level, rolled)
    np.testing.assert_allclose(affine @ (127.5, 127.5, 1), [127.5, 127.5])
    assert rolled[0] < -40, "a positive roll turns the image counter-clockwise: up goes left"
