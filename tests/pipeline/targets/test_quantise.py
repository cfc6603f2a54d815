import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pose.decode import decode_heatmaps
from pipeline.targets.quantise import BIN_AXES, dequantise, distribution, quantise

FLOAT16 = 2.0**-11
"""Largest relative rounding of a float16."""


@pytest.mark.parametrize(
    ("relative", "level"),
    [(1, 255), (0.5, 128), (0.499, 113), (0.3, 87), (0.1, 28), (0.03, 7), (0.0178, 7), (0.0176, 0), (0, 0)],
)
def test_levels_far_from_the_peak(relative, level):
    """From half the peak on 255; below 255 / 144 of 1, 4, 9, 16, 25, 36, 49 and 64, of which the first is in the dead zone."""
    levels, peak = quantise(np.array([[[4.0, 0.0, 4.0 * relative]]]))
    assert levels.tolist() == [[[255, 0, level]]]
    assert (peak.tolist(), levels.dtype) == ([4.0], np.uint8)


def test_the_peak_and_its_neighbours_have_all_levels():
    """Keypoints are decoded from these. 51 and 3 become 44 and 0 elsewhere; the peak in the corner has three neighbours."""
    inside = np.array([[0, 51, 3, 51], [51, 255, 51, 51], [3, 51, 3, 51], [51, 51, 51, 51]])
    corner = np.array([[255, 51, 51, 51], [3, 3, 3, 51], [51, 3, 3, 3], [51, 3, 3, 3]])
    assert quantise(np.stack([inside, corner]) / 255)[0].tolist() == [
        [[0, 51, 3, 44], [51, 255, 51, 44], [3, 51, 3, 44], [44, 44, 44, 44]],
        [[255, 51, 44, 44], [3, 3, 0, 44], [44, 0, 0, 0], [44, 0, 0, 0]],
    ]
    bins = np.array([[51, 51, 255, 3, 3], [255, 51, 51, 3, 51]])
    assert quantise(bins / 255, BIN_AXES)[0].tolist() == [[44, 51, 255, 3, 0], [255, 51, 44, 0, 44]]


def test_a_zero_map_has_peak_zero():
    levels, peak = quantise(np.zeros((2, 3, 4, 5)))
    assert not levels.any()
    assert peak.tolist() == np.zeros((2, 3)).tolist()
    assert not dequantise(levels, peak).any()


def test_each_map_has_its_own_peak():
    maps = np.zeros((2, 1, 3))
    maps[0, 0], maps[1, 0] = [1, 0.5, 0.01], [1e-40, 5e-41, 0]
    levels, peak = quantise(maps)
    assert levels.tolist() == [[[255, 128, 0]], [[255, 128, 0]]]
    assert peak.tolist() == [1.0, 1e-40]


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_error_of_a_value(seed, height):
    """Half a level from half the peak on and around the peak; below, roots are off by up to 1 / 24 before two roundings to levels."""
    maps = height * np.random.default_rng(seed).uniform(0, 1, (2, 8, 6)) ** 2
    levels, stored = quantise(maps)
    back = dequantise(levels, stored.astype(np.float16))
    peak = maps.max(axis=(1, 2), keepdims=True)
    relative = maps / peak
    rounding = 0.5 / 255 + FLOAT16 + 1e-6  # the last one is float32's
    coarse = (2 * np.sqrt(relative + 0.5 / 255) + 1 / 24) / 24 + 0.5 / 255
    allowed = rounding + np.where(relative < 0.5, np.where(relative < 4.5 / 255, 4.5 / 255, coarse), 0)
    assert (np.abs(back - maps) <= allowed * peak).all()


@given(st.integers(0, 10_000))
def test_keypoints_survive(seed):
    """Within 0.1 heatmap pixel on sums of Gaussians.

    Newton's step is sigma^2 / 2 x the difference of two neighbours' logarithms. Half a level changes a neighbour above
    80 % of the peak by 0.5 / 255 / 0.8 = 0.25 %, so sigma 2 moves by 2 x 2 x 0.25 % = 0.01, and the same again for the
    curvature at offsets of half a pixel; the weaker second Gaussian widens the top, which no more than doubles both.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :48]

    def bump(cx, cy):
        return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)

    first, second = random.uniform((8, 8), (40, 56), (2, 2))
    maps = (bump(*first) + random.uniform(0, 0.5) * bump(*second))[None]
    raw, stored = (decode_heatmaps(m, "newton")[0] for m in (maps, dequantise(*quantise(maps))))
    assert np.abs(raw - stored).max() < 0.1


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_the_centre_of_mass_survives(sigma):
    """A value v is off by up to sqrt(v) / 12: 0.076 sigma if one side had all of it up and the other down; the dead zone 0.02 pixels."""
    y, x = np.mgrid[:64, :48]
    maps = np.stack([np.exp(-((x - 20 - by) ** 2 + (y - 30) ** 2) / 2 / sigma**2) for by in np.linspace(0, 0.5, 20)])

    def centre(values):
        return (values * x).sum(axis=(1, 2)) / values.sum(axis=(1, 2))

    assert np.abs(centre(dequantise(*quantise(maps))) - centre(maps)).max() < 0.076 * sigma + 0.02


def test_each_row_of_bins_has_its_own_peak():
    bins = np.array([[[0.1, 0.4, 0.2]], [[0.0, 0.0, 0.0]]])
    levels, peak = quantise(bins, BIN_AXES)
    assert levels.tolist() == [[[64, 255, 128]], [[0, 0, 0]]]
    assert peak.tolist() == [[0.4], [0.0]]


def test_bins_come_back_as_a_distribution():
    """Whatever the peak was; a row of zeros has none and stays zero."""
    levels = np.array([[[51, 255, 204], [0, 0, 0], [0, 0, 7]]], np.uint8)
    assert np.allclose(distribution(levels), [[[0.1, 0.5, 0.4], [0, 0, 0], [0, 0, 1]]], atol=1e-7)
    assert distribution(levels).dtype == np.float32


@given(st.integers(0, 10_000), st.floats(1, 12), st.floats(20, 360))
def test_error_of_stored_bins(seed, sigma, at):
    """In total variation, half the sum of the differences.

    A Gaussian is below half its peak from 1.18 sigma and in the dead zone, 1.8 %, from 2.84 sigma on. In between a value v is off
    by up to sqrt(v) / 12, which adds up to 0.042 of the mass; the mass beyond is 0.005, levels above half the peak are off by
    up to half of 1 / 255, 0.002 in all. Half of that, and as much again through the sum, is 0.049; noise adds a tenth.
    """
    bins = np.exp(-(((np.arange(384) - at) / sigma) ** 2) / 2)
    bins *= 1 + 0.1 * np.random.default_rng(seed).uniform(-1, 1, 384)
    bins /= bins.sum()
    back = distribution(quantise(bins[None], BIN_AXES)[0])[0]
    assert np.abs(back - bins).sum() / 2 < 0.054
