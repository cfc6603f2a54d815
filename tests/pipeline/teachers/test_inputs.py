"""Network inputs straight from images are what cropping and normalising one after the other gives, to the last bit."""

import numpy as np
import pytest

from pipeline.pose.crops import crop
from pipeline.teachers.inputs import normalised_levels, with_fourth_channel, write_inputs
from tests.pipeline.examples import spec

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
AFFINES = np.array(
    [[[0.5, 0.1, -3.0], [-0.1, 0.6, 2.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[3.0, 0, 90], [0, 3, 0]]]
)
"""Turned, as it is, and half of it outside the image."""


def filled(one, number, image=PICTURE):
    inputs = np.full((3, 3, 16, 12), 7, number)
    write_inputs(inputs, image, AFFINES, one, normalised_levels(one, number))
    return inputs


@pytest.mark.parametrize("number", [np.float32, np.float16])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_equals_cropping_then_normalising(color, number):
    one = spec(input_wh=(12, 16), color=color)
    inputs = filled(one, number)
    assert inputs.dtype == number
    np.testing.assert_array_equal(inputs, one.normalised(crop(PICTURE, AFFINES, (12, 16))).astype(number))
    np.testing.assert_array_equal(inputs, filled(one, number, with_fourth_channel(PICTURE)))


def test_channels_by_hand():
    """The second crop is the image's corner: channel c is (level - mean) / std of the spec's channel c."""
    one = spec(input_wh=(12, 16), color="bgr")
    corner = PICTURE[:16, :12, ::-1].astype(np.float64)
    expected = (corner - one.mean) / one.std
    np.testing.assert_allclose(filled(one, np.float32)[1], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
