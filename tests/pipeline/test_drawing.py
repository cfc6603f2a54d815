import numpy as np
import pytest

from pipeline.drawing import LEFT, MARGIN, MIDDLE, PAPER, RIGHT, contact_sheet, draw_maps, draw_pose, side_color
from pipeline.pose.skeletons import Skeleton

SKELETON = Skeleton("four", ("nose", "left_hip", "right_hip", "left_knee"))
PICTURE = np.full((60, 80, 3), 128, np.uint8)
KEYPOINTS = np.array([[10.0, 10.0], [60.0, 40.0], [20.0, 40.0], [60.0, 52.0]])
KNOWN = np.ones(4, bool)


def test_colors_by_side():
    assert [side_color(k) for k in ("left_eye", "right_eye", "nose")] == [LEFT, RIGHT, MIDDLE]


def test_keypoints_have_their_sides_color():
    drawn = draw_pose(PICTURE, SKELETON, KEYPOINTS, KNOWN)
    for (x, y), color in zip(KEYPOINTS.astype(int), (MIDDLE, LEFT, RIGHT, LEFT), strict=True):
        assert np.abs(drawn[y, x] - np.array(color)).max() <= 26  # a tenth: discs of radius 1 have soft edges
    assert np.abs(drawn[46, 60] - np.array(LEFT)).max() <= 26  # on the thigh
    assert (PICTURE == 128).all()


@pytest.mark.parametrize("why", ["unknown", "NaN"])
def test_what_is_not_known_is_not_drawn(why):
    known, keypoints = KNOWN.copy(), KEYPOINTS.copy()
    if why == "unknown":
        known[3] = False
    else:
        keypoints[3] = np.nan
    drawn = draw_pose(PICTURE, SKELETON, keypoints, known)
    assert (drawn[45:, :] == 128).all()
    assert np.abs(drawn[40, 60] - np.array(LEFT)).max() <= 26
    nothing = draw_pose(PICTURE, SKELETON, KEYPOINTS, np.zeros(4, bool))
    assert np.array_equal(nothing, PICTURE)


def test_little_people_get_finer_lines():
    """In an image of 640 x 480 a limb is 4 pixels wide, or a sixtieth of the person, and 1 at least; soft edges may add one."""
    image = np.full((480, 640, 3), 255, np.uint8)
    ends = np.array([[0.0, 0.0], [100.0, 200.0], [0.0, 0.0], [500.0, 200.0]])
    widths = {}
    for person in (np.inf, 240.0, 120.0, 10.0):
        drawn = draw_pose(image, SKELETON, ends, np.array([False, True, False, True]), person)
        widths[person] = int((drawn[:, 300].min(axis=1) < 148).sum())  # half covered
        # White and the side's colour have a channel at 255, the rim that all discs but the finest have does not.
        assert (drawn[200, 90:110].max(axis=1).min() < 200) == (person > 60)
    for person, least in ((np.inf, 4), (240.0, 4), (120.0, 2), (10.0, 1)):
        assert least <= widths[person] <= least + 1


def test_keypoints_far_outside_do_no_harm():
    drawn = draw_pose(PICTURE, SKELETON, KEYPOINTS + 5000, KNOWN)
    assert np.array_equal(drawn, PICTURE)


def test_maps_glow_in_their_sides_color():
    """A map's pixel (2, 1), put at image pixel (4 x 2 + 1, 4 x 1 + 2); 0.45 of the image and 0.9 of the colour."""
    maps = np.zeros((4, 10, 15), np.float32)
    maps[1, 1, 2] = 0.3
    drawn = draw_maps(PICTURE, SKELETON, maps, np.array([[4.0, 0.0, 1.0], [0.0, 4.0, 2.0]]))
    expected = np.clip(0.45 * 128 + 0.9 * np.array(LEFT), 0, 255)
    assert np.abs(drawn[6, 9] - expected).max() <= 1
    assert (drawn[30:] == int(0.45 * 128)).all()


def test_sheet_puts_images_in_rows_and_columns():
    rows = [[np.full((20, 30, 3), 10 * (3 * r + c), np.uint8) for c in range(3)] for r in range(2)]
    full = contact_sheet(rows, ["a", "b", "c"], ["one", "two"])
    for r in range(2):
        for c in range(3):
            top, left = 22 + r * 42, 6 + c * 36
            assert (full[top : top + 20, left : left + 30] == 10 * (3 * r + c)).all()
    assert full.shape == (22 + 2 * 42, MARGIN + 3 * 36, 3)
    assert (full[0, 0] == PAPER).all()
