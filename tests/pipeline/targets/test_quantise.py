import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.targets.decode import decode
from pipeline.targets.quantise import BINS, dequantise, distribution, quantise

FLOAT16 = 2.0**-11
"""Largest relative rounding of a float16."""


@pytest.mark.parametrize(
    ("relative", "level"),
    [(1.0, 255), (0.5, 128), (0.499, 127), (0.1, 26), (0.0201, 5), (0.0199, 0), (0.0, 0)],
)
def test_levels_and_dead_zone(relative, level):
    levels, peak = quantise(np.array([[[4.0, 4.0 * relative]]]))
    assert levels.tolist() == [[[255, level]]]
    assert (peak.tolist(), levels.dtype) == ([4.0], np.uint8)


def test_a_zero_map_has_peak_zero():
    levels, peak = quantise(np.zeros((2, 3, 4, 5)))
    assert not levels.any()
    assert peak.tolist() == np.zeros((2, 3)).tolist()
    assert not dequantise(levels, peak).any()


def test_each_map_has_its_own_peak():
    maps = np.zeros((2, 1, 3))
    maps[0, 0], maps[1, 0] = [1, 0.5, 0.01], [1e-4, 5e-5, 0]
    levels, peak = quantise(maps)
    assert levels.tolist() == [[[255, 128, 0]], [[255, 128, 0]]]
    assert peak.tolist() == [1.0, 1e-4]


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_error_is_half_a_level_above_the_dead_zone(seed, height):
    maps = height * np.random.default_rng(seed).uniform(0, 1, (2, 8, 6))
    levels, stored = quantise(maps)
    back = dequantise(levels, stored.astype(np.float16))
    peak = maps.max(axis=(1, 2), keepdims=True)
    # Half a level, float16's rounding of the peak, and float32's.
    allowed = np.where(maps < 0.02 * peak, 0.02, 0.5 / 255 + FLOAT16 + 1e-6) * peak
    assert (np.abs(back - maps) <= allowed).all()
    assert (back[maps < 0.02 * peak] == 0).all()


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
    raw, stored = (decode(m, "newton")[0] for m in (maps, dequantise(*quantise(maps))))
    assert np.abs(raw - stored).max() < 0.1


def test_each_row_of_bins_has_its_own_peak():
    bins = np.array([[[0.1, 0.4, 0.2]], [[0.0, 0.0, 0.0]]])
    levels, peak = quantise(bins, BINS)
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

    A Gaussian falls to 2 % of its peak, 0.4 / sigma, at 2.8 sigma. The 5.6 sigma bins within are off by up to half of 1 / 255 of
    that each: 0.0022 in all, and as much again through their sum. The mass beyond is 0.005 and half a bin at 2 % on
    either side, 0.008 / sigma; noise adds a tenth. At sigma 1: 0.0044 + 1.1 x 0.013 = 0.019.
    """
    bins = np.exp(-(((np.arange(384) - at) / sigma) ** 2) / 2)
    bins *= 1 + 0.1 * np.random.default_rng(seed).uniform(-1, 1, 384)
    bins /= bins.sum()
    back = distribution(quantise(bins[None], BINS)[0])[0]
    assert np.abs(back - bins).sum() / 2 < 0.02
