import numpy as np
import pytest

from pipeline.crops import crop

PICTURE = np.random.default_rng(0).integers(1, 256, (20, 30, 3), dtype=np.uint8)


def moved(x, y, scale=1.0):
    return np.array([[[scale, 0.0, x], [0.0, scale, y]]])


def test_identity_gives_the_picture_back():
    assert np.array_equal(crop(PICTURE, moved(0, 0), (30, 20))[0], PICTURE)


@pytest.mark.parametrize(("x", "y"), [(5, 3), (-5, -3), (40, 0)])
def test_whole_pixels_move_and_the_outside_is_black(x, y):
    (moved_picture,) = crop(PICTURE, moved(x, y), (30, 20))
    expected = np.zeros_like(PICTURE)
    for row in range(20):
        for column in range(30):
            if 0 <= row - y < 20 and 0 <= column - x < 30:
                expected[row, column] = PICTURE[row - y, column - x]
    assert np.array_equal(moved_picture, expected)


def test_several_crops_of_another_size():
    crops = crop(PICTURE, np.concatenate([moved(0, 0), moved(-10, -8)]), (7, 5))
    assert (crops.shape, crops.dtype) == ((2, 5, 7, 3), np.uint8)
    assert np.array_equal(crops[0], PICTURE[:5, :7])
    assert np.array_equal(crops[1], PICTURE[8:13, 10:17])


def test_pixels_halfway_between_two_are_their_mean():
    # OpenCV interpolates in steps of 1/32 pixel and rounds, so one half is met to one level.
    (half,) = crop(PICTURE, moved(-0.5, 0), (29, 20))
    mean = (PICTURE[:, :-1].astype(float) + PICTURE[:, 1:]) / 2
    assert np.abs(half - mean).max() <= 1
