from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from pipeline.sample.body import BODY, Build, pose_body
from pipeline.sample.camera import look_at
from pipeline.sample.figure import Figure, paint_figure
from pipeline.sample.look import sample_look
from pipeline.sample.pose import Pose, Style
from pipeline.sample.scene import Scene, render_scene, sample_styles

UP = np.array([0.0, -1.0])
STANDING = Pose(np.zeros((2, 4)), np.zeros((2, 4)), 0, 0, 0, 0, 0, 0, 0, 0, 0, False)


@cache
def scenes(style: Style, count: int = 40) -> list[Scene]:
    return [render_scene(style, 0.0, 256, *map(np.random.default_rng, ([1, n], [2, n]))) for n in range(count)]


def figure(yaw: float, **look) -> Figure:
    body = pose_body(Build(1.73, 1.0, 1.0, 1.0), STANDING)
    view = look_at(yaw, 0, 0, 6, 100).moved(np.array([100.0, 95.0]))
    return Figure(body, replace(sample_look("everyday", np.random.default_rng(0)), **look), view)


def painted(yaw: float, **look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    return image, *paint_figure(image, figure(yaw, **look), UP)


def test_the_silhouette_is_what_was_painted():
    image, silhouette, _ = painted(0)
    changed = (image > 0).any(2)
    # Smooth edges reach half a pixel further than the silhouette, which is all that may differ.
    assert not (silhouette & ~cv2.dilate(changed.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
    assert np.count_nonzero(changed) == pytest.approx(np.count_nonzero(silhouette), rel=0.12)


def test_every_keypoint_lies_on_its_person():
    _, silhouette, _ = painted(0)
    x, y = np.rint(figure(0).keypoints).astype(int).T
    grown = cv2.dilate(silhouette.astype(np.uint8), np.ones((3, 3)))
    assert grown[y, x].all()


def test_colours_are_where_the_keypoints_say():
    red, green, blue = (0.0, 0.0, 255.0), (0.0, 255.0, 0.0), (255.0, 0.0, 0.0)
    image, *_ = painted(0, shirt=red, sleeves="long", trousers=green, legwear="long", shoes=blue)
    x, y = np.rint(figure(0).keypoints).astype(int).T
    pixels = dict(zip(BODY.keypoints, image[y, x], strict=True))
    for side in ("left", "right"):
        assert pixels[f"{side}_elbow"].argmax() == 2
        assert pixels[f"{side}_knee"].argmax() == 1
        assert pixels[f"{side}_big_toe"].argmax() == 0


def test_clothes_are_painted_over_the_limb_they_are_worn_on():
    """A shin that goes away from the viewer: its sock is farther than the shin's middle and shows all the same."""
    blue = (255.0, 0.0, 0.0)
    kneeling = replace(STANDING, legs=np.tile((0.0, 0.0, 0.0, 70.0), (2, 1)))
    person = replace(figure(0, legwear="shorts", socks=blue), body=pose_body(Build(1.73, 1.0, 1.0, 1.0), kneeling))
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    paint_figure(image, person, UP)
    for side in ("left", "right"):
        knee, ankle = (person.keypoints[BODY.index(f"{side}_{joint}")] for joint in ("knee", "ankle"))
        x, y = np.rint(0.1 * knee + 0.9 * ankle).astype(int)
        assert image[y, x].argmax() == 0 and image[y, x, 2] < 50


def test_a_face_is_seen_from_the_front_alone():
    face = [BODY.index(name) for name in ("nose", "left_eye", "right_eye")]
    assert painted(0)[2][face].all() and not figure(0).turned_away.any()
    assert not painted(180)[2][face].any() and figure(180).turned_away[face].all()
    assert figure(0).faces_camera == pytest.approx(1) and figure(180).faces_camera == pytest.approx(-1)
    profile = figure(90).turned_away
    assert profile[BODY.index("right_ear")] != profile[BODY.index("left_ear")]


def test_front_and_back_look_different_on_a_symmetric_person():
    front, back = painted(0)[0], painted(180)[0]
    assert np.abs(front.astype(int) - back).max() > 60


def test_the_far_arm_is_hidden_in_profile():
    visible = painted(90)[2]
    assert visible[BODY.index("right_shoulder")]
    assert not visible[BODY.index("left_shoulder")]


@pytest.mark.parametrize("style", ["everyday", "sport"])
def test_labelled_keypoints_are_inside_image_and_box(style):
    people = [person for scene in scenes(style) for person in scene.people]
    assert len(people) > 40
    for person in people:
        assert (person.labelled <= person.inside).all()
        assert (person.visible <= person.inside).all()
        points = person.keypoints[person.inside & person.labelled]
        assert ((points >= 0) & (points <= 255)).all()
        # A joint in the flesh is inside the silhouette; half a pixel is from its whole pixels, the rest from thin feet.
        assert (points >= person.box[:2] - 1.5).all() and (points <= person.box[:2] + person.box[2:] + 0.5).all()
        assert 0 < person.area <= person.box[2] * person.box[3]


@pytest.mark.parametrize("style", ["everyday", "sport"])
def test_people_are_mostly_in_the_image_and_large_enough(style):
    people = [person for scene in scenes(style) for person in scene.people if person.labelled.any()]
    assert min(person.inside.mean() for person in people) > 0.5
    extent = np.array([person.box[2:].max() for person in people])
    assert np.percentile(extent, 10) > 60 and extent.max() <= 256
    assert 1.4 < len(people) / len(scenes(style)) < 2.5


def test_head_boxes_hold_the_head():
    for person in (person for scene in scenes("sport") for person in scene.people):
        first, last = person.head_box[:2], person.head_box[2:]
        assert (last - first > 5).all()
        for name in ("head_top", "upper_neck", "nose"):
            point = person.keypoints[BODY.index(name)]
            # A nose in profile sticks out of the skull.
            assert (point >= first - 4).all() and (point <= last + 4).all()


def test_left_is_on_the_images_right_for_whoever_faces_the_camera():
    left, right = BODY.index("left_shoulder"), BODY.index("right_shoulder")
    people = [person for scene in scenes("everyday") for person in scene.people]
    sides = [np.sign(p.keypoints[left, 0] - p.keypoints[right, 0]) for p in people if p.faces_camera > 0.7]
    backs = [np.sign(p.keypoints[left, 0] - p.keypoints[right, 0]) for p in people if p.faces_camera < -0.7]
    assert len(sides) > 20 and set(sides) == {1.0}
    assert len(backs) > 5 and set(backs) == {-1.0}


def test_some_people_are_far_crowded_hidden_or_cut_off():
    people = [person for scene in scenes("everyday", 90) for person in scene.people]
    assert any(person.crowd for person in people)
    assert any(not person.crowd and not person.labelled.any() for person in people)
    assert any((person.labelled & ~person.visible).any() for person in people)
    assert any(person.labelled.any() and not person.inside.all() for person in people)


def test_the_two_styles_differ_in_colour():
    def saturation(style: Style) -> float:
        return float(np.mean([cv2.cvtColor(scene.image, cv2.COLOR_BGR2HSV)[..., 1].mean() for scene in scenes(style)]))

    assert saturation("sport") > 1.8 * saturation("everyday")


def test_mixing_takes_that_share_from_the_other_style():
    rng = np.random.default_rng(0)
    drawn = [sample_styles("everyday", 0.25, rng) for _ in range(2000)]
    for part in ("place", "pose", "look"):
        # Three standard errors of a share of 0.25 in 2000.
        assert np.mean([getattr(styles, part) == "sport" for styles in drawn]) == pytest.approx(0.25, abs=0.03)
    assert {sample_styles("sport", 0.0, rng).pose for _ in range(50)} == {"sport"}


def test_looks_do_not_move_anybody():
    one, other = (render_scene("sport", 0.0, 128, np.random.default_rng(5), np.random.default_rng(n)) for n in (6, 7))
    assert (one.image != other.image).any()
    for a, b in zip(one.people, other.people, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("size", [64, 200, 512])
def test_other_sizes(size):
    scene = render_scene("everyday", 0.5, size, np.random.default_rng(1), np.random.default_rng(2))
    assert scene.image.shape == (size, size, 3)
    assert scene.people[0].box[3] > 0.25 * size


def test_even_the_smallest_far_people_leave_a_silhouette():
    for n in range(60):
        scene = render_scene("everyday", 0.0, 64, np.random.default_rng([1, n]), np.random.default_rng([2, n]))
        assert all(person.area > 0 and (person.box[2:] > 0).all() for person in scene.people)
