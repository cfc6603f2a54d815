import numpy as np
import pytest

from pipeline.pose.crops import crop, cut_region, region_jpeg, visible_box
from pipeline.pose.geometry import apply, compose, invert

IMAGE = np.random.default_rng(0).integers(1, 256, (20, 30, 3), dtype=np.uint8)


def moved(x, y, scale=1.0):
    return np.array([[[scale, 0.0, x], [0.0, scale, y]]])


def test_identity_gives_the_image_back():
    assert np.array_equal(crop(IMAGE, moved(0, 0), (30, 20))[0], IMAGE)


@pytest.mark.parametrize(("x", "y"), [(5, 3), (-5, -3), (40, 0)])
def test_whole_pixels_move_and_the_outside_is_black(x, y):
    (moved_image,) = crop(IMAGE, moved(x, y), (30, 20))
    expected = np.zeros_like(IMAGE)
    for row in range(20):
        for column in range(30):
            if 0 <= row - y < 20 and 0 <= column - x < 30:
                expected[row, column] = IMAGE[row - y, column - x]
    assert np.array_equal(moved_image, expected)


def test_several_crops_of_another_size():
    crops = crop(IMAGE, np.concatenate([moved(0, 0), moved(-10, -8)]), (7, 5))
    assert (crops.shape, crops.dtype) == ((2, 5, 7, 3), np.uint8)
    assert np.array_equal(crops[0], IMAGE[:5, :7])
    assert np.array_equal(crops[1], IMAGE[8:13, 10:17])


def test_pixels_halfway_between_two_are_their_mean():
    # OpenCV interpolates in steps of 1/32 pixel and rounds, so one half is met to one level.
    (half,) = crop(IMAGE, moved(-0.5, 0), (29, 20))
    mean = (IMAGE[:, :-1].astype(float) + IMAGE[:, 1:]) / 2
    assert np.abs(half - mean).max() <= 1


def test_seen_is_the_box_around_the_corners():
    turned = np.array([[[0.0, 1.0, -5.0], [-1.0, 0.0, 30.0]]])  # x' = y - 5, y' = 30 - x
    assert np.allclose(visible_box(turned, (11, 7)), [[24, 5, 30, 15]])


@pytest.mark.parametrize("shift", [(-9.0, -1.0), (4.0, 2.0), (-30.0, -18.0)])
def test_a_part_shows_all_that_the_image_does(shift):
    affine = np.array([[1.1, 0.2, shift[0]], [-0.2, 1.1, shift[1]]])
    pixels, part_from_image = cut_region(IMAGE, visible_box(affine[None], (12, 9))[0], 1.0)
    assert pixels.size < IMAGE.size
    again = crop(pixels, compose(affine, invert(part_from_image))[None], (12, 9))
    assert np.array_equal(again, crop(IMAGE, affine[None], (12, 9)))


def test_a_part_of_half_the_density_holds_means_of_four():
    """Two pixels more on each side, which is one of the part's: columns 4 to 21, rows 2 to 15."""
    half, half_from_image = cut_region(IMAGE, np.array([6.0, 4.0, 19.0, 13.0]), 0.5)
    means = IMAGE[2:16, 4:22].reshape(7, 2, 9, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - means).max() <= 0.5
    assert np.allclose(apply(half_from_image, np.array([[4.5, 2.5], [21 - 0.5, 15 - 0.5]])), [[0, 0], [8, 6]])


@pytest.mark.parametrize("density", [1.0, 0.5, 0.2, 0.07])
def test_a_part_is_not_darker_at_its_border(density):
    grey = np.full((200, 300, 3), 200, np.uint8)
    affine = np.array([[density, 0.0, -60 * density], [0.0, density, -40 * density]])
    wh = (round(150 * density), round(100 * density))
    pixels, part_from_image = cut_region(grey, visible_box(affine[None], wh)[0], density)
    assert (crop(pixels, compose(affine, invert(part_from_image))[None], wh) == 200).all()


@pytest.mark.parametrize("box", [[-50, -50, -20, -20], [100, 100, 120, 130]])
def test_one_pixel_is_left_of_a_box_without_any_of_the_image(box):
    pixels, _ = cut_region(IMAGE, np.array(box, float), 1.0)
    assert pixels.shape == (1, 1, 3)


def test_a_part_is_made_less_dense_until_its_bytes_fit():
    whole = np.array([0.0, 0.0, 29.0, 19.0])
    jpeg, _, wh = region_jpeg(IMAGE, whole, 1.0, 90, 10**6)
    smaller, affine, smaller_wh = region_jpeg(IMAGE, whole, 1.0, 90, len(jpeg) - 1)
    assert wh == (30, 20) and smaller_wh == (24, 16) and len(smaller) < len(jpeg)
    assert np.allclose(affine[:, :2], np.eye(2) * 0.8)
