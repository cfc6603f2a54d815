import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pose.decode import decode_heatmaps, mass_at_peak

WH = (48, 64)

# MMPose 1.3.2, input 192 x 256: keypoints in input pixels, and what its codecs decode from the maps they encode.
KEYPOINTS = np.array(
    [
        [87.53661588547857, 73.98055446456583],
        [78.36656353337752, 246.2613511511047],
        [42.02885380305923, 241.56766964129156],
    ]
)
MSRA_PEAK_YX = [(18, 22), (62, 20), (60, 11)]
MSRA_DECODED = np.array([[88.0, 72.0], [80.0, 248.0], [44.0, 240.0]])
UDP_AROUND = np.array(
    [
        [0.7862160205841064, 0.7942014932632446, 0.6248070001602173],
        [0.9549118280410767, 0.9646106958389282, 0.7588697671890259],
        [0.903256356716156, 0.9124305844306946, 0.7178191542625427],
    ]
)
"""Of the first keypoint."""
UDP_DECODED = np.array(
    [
        [87.99486265791222, 74.2708255828373],
        [78.77700610871011, 246.52094184027777],
        [42.24903902094415, 242.40023561507937],
    ]
)


def gaussian(points, sigma, wh=WH):
    """Maps (K, H, W) with peak 1 around points (K, 2)."""
    y, x = np.mgrid[: wh[1], : wh[0]]
    px, py = np.array(points, float).T[:, :, None, None]
    return np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))


def cut(maps, centres, radius):
    """Zero farther than `radius` pixels, along x or y, from whole pixels: MMPose draws a Gaussian in such a square."""
    y, x = np.mgrid[: maps.shape[1], : maps.shape[2]]
    cx, cy = np.array(centres).T[:, :, None, None]
    return np.where((abs(x - cx) <= radius) & (abs(y - cy) <= radius), maps, 0.0)


def test_quarter_is_msras():
    """Maps centred on whole pixels have equal neighbours: decoding gives the pixel, times four input pixels."""
    centres = [(x, y) for y, x in MSRA_PEAK_YX]
    points, values = decode_heatmaps(cut(gaussian(centres, 2.0), centres, 6), "quarter")
    assert (points * 4).tolist() == MSRA_DECODED.tolist()
    assert values.tolist() == [1.0, 1.0, 1.0]


def test_newton_after_blur_is_udps():
    """In heatmap pixels: MMPose goes back to input pixels by 192 / 47 though the encoding went there by 47 / 191."""
    points = KEYPOINTS * np.array([47 / 191, 63 / 255])
    maps = cut(gaussian(points, 2.0), np.floor(points + 0.5), 6)
    assert np.allclose(maps[0, 17:20, 21:24], UDP_AROUND, rtol=0, atol=1e-6)
    decoded, values = decode_heatmaps(maps, "newton", blur=11)
    # Golden numbers passed float32 maps and float32 input pixels: 250 x 6e-8, a few times over.
    assert np.abs(decoded * np.array([192 / 47, 256 / 63]) - UDP_DECODED).max() < 2e-4
    assert values[0] == pytest.approx(0.9646106958389282, abs=1e-6)


@given(
    st.floats(3, 44),
    st.floats(3, 60),
    st.sampled_from([0.8, 1.0, 2.0, 3.0]),
    st.sampled_from([1.0, 1e-3, 40.0]),
)
def test_newton_is_exact_on_gaussians(x, y, sigma, height):
    """The logarithm of a Gaussian is a parabola; float32 leaves 1e-6 x sigma squared."""
    points, values = decode_heatmaps(height * gaussian([(x, y)], sigma), "newton")
    assert np.abs(points - [[x, y]]).max() < 1e-3
    assert values[0] <= height * 1.000001


@pytest.mark.parametrize("lean", [-0.1, 0.1])
def test_newton_is_exact_on_leaning_gaussians(lean):
    """Their logarithm is a parabola as well, with a mixed term."""
    y, x = np.mgrid[:64, :48]
    dx, dy = x - 20.4, y - 30.3
    maps = np.exp(-(0.125 * dx**2 + 0.2 * dy**2 + 2 * lean * dx * dy))[None]
    assert np.abs(decode_heatmaps(maps, "newton")[0] - [[20.4, 30.3]]).max() < 1e-3


def test_blur_keeps_the_point_of_a_gaussian():
    points = np.array([[20.3, 31.7], [15.5, 40.25]])
    assert (
        np.abs(decode_heatmaps(gaussian(points, 2.0), "newton", blur=11)[0] - points).max() < 0.01
    )  # the kernel is cut at 5 pixels


@pytest.mark.parametrize(("x", "quarter"), [(10.0, 10.0), (10.1, 10.25), (10.4, 10.25), (10.6, 10.75), (9.9, 9.75)])
def test_quarter_moves_towards_the_larger_neighbour(x, quarter):
    assert decode_heatmaps(gaussian([(x, 20.0)], 2.0), "quarter")[0].tolist() == [[quarter, 20.0]]


@pytest.mark.parametrize("refinement", ["quarter", "newton"])
def test_maps_without_a_positive_value(refinement):
    maps = np.stack([np.zeros((8, 9)), np.full((8, 9), -3.0)])
    points, values = decode_heatmaps(maps, refinement, blur=0)
    assert points.tolist() == [[-1.0, -1.0], [-1.0, -1.0]]
    assert values.tolist() == [0.0, -3.0]


@pytest.mark.parametrize("corner", [(0, 0), (47, 0), (0, 63), (47, 63)])
@pytest.mark.parametrize(
    ("refinement", "blur", "inward"), [("quarter", 0, 0.0), ("newton", 0, -0.5), ("newton", 11, 0.0)]
)
def test_peaks_in_a_corner(corner, refinement, blur, inward):
    """Quarter: no shift. Newton repeats the border outside, as MMPose does: the parabola's top is then on the pixel's edge.

    The blur has zeros outside, so the blurred corner is no longer a maximum, and there is no step.
    """
    (point,), _ = decode_heatmaps(gaussian([corner], 2.0), refinement, blur)
    outside = np.where(np.array(corner) == 0, inward, -inward)
    assert np.allclose(point, corner + outside, atol=1e-3)


def test_newton_steps_one_pixel_at_most_and_none_where_it_is_not_a_peak():
    lone = np.full((1, 9, 9), 0.5)
    lone[0, 4, 4:7] = 1.0, 0.999999, 0.999998  # a ridge whose parabola has its top far away
    (point,), _ = decode_heatmaps(lone, "newton")
    assert np.abs(point - [4, 4]).max() <= 1
    flat = np.ones((1, 9, 9))
    assert decode_heatmaps(flat, "newton")[0].tolist() == [[0.0, 0.0]]


def test_leading_axes_are_kept():
    points = np.random.default_rng(0).uniform(8, 40, (2, 3, 4, 2))
    maps = gaussian(points.reshape(-1, 2), 1.5).reshape(2, 3, 4, 64, 48)
    decoded, values = decode_heatmaps(maps, "newton")
    assert values.shape == (2, 3, 4)
    assert np.abs(decoded - points).max() < 1e-3


def test_mass_at_peak():
    maps = np.zeros((2, 6, 7))
    maps[0, 0, 0], maps[0, 2, 2], maps[0, 3, 0], maps[0, 5, 6] = (
        4,
        3,
        2,
        1,
    )  # the third and fourth are too far from the first
    maps[1, 3, 3] = 2
    assert mass_at_peak(maps).tolist() == [0.7, 1.0]
    assert mass_at_peak(maps, radius=0).tolist() == [0.4, 1.0]
