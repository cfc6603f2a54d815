"""SimCC's labels against MMPose 1.3.2: the bells of height 1 that SimCCLabel encodes, the softmax of ten times them in KLDiscretLoss."""

import numpy as np
import pytest
import torch

from pipeline.training.simcc_labels import published_sigma, simcc_labels

MMPOSE_NEAR = {
    4.9: [0.829093873500824, 0.9200763702392578, 0.9793906807899475, 1.0, 0.9793906807899475],
    5.66: [0.8689508438110352, 0.93947833776474, 0.984513521194458, 1.0, 0.984513521194458],
}
"""What MMPose 1.3.2 encodes at distances -3 to 1 from the keypoint's bin."""


@pytest.mark.parametrize(
    ("input_wh", "published"),
    [((192, 256), (4.9, 5.66)), ((256, 256), (5.66, 5.66)), ((288, 384), (6.0, 6.93))],
)
def test_sigma_of_rtmposes_own_configurations(input_wh, published):
    """Theirs are rounded to two digits."""
    assert published_sigma(input_wh) == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize(("sigma", "near"), MMPOSE_NEAR.items())
def test_the_softmax_of_ten_times_mmposes_bell(sigma, near):
    x, y = simcc_labels(torch.tensor([[[175.0, 148.0]]], dtype=torch.float64), (384, 512), (sigma, sigma), 10.0)
    assert (x.shape, y.shape) == ((1, 1, 384), (1, 1, 512))
    for row, at in ((x[0, 0], 175), (y[0, 0], 148)):
        assert float(row.sum()) == pytest.approx(1, abs=1e-12)
        assert int(row.argmax()) == at
        # a softmax's ratios: exp(10 x (g - 1)); MMPose's bells are float32
        ratios = (row[at - 3 : at + 2] / row[at]).numpy()
        assert ratios == pytest.approx(np.exp(10 * (np.array(near) - 1)), rel=1e-5)


def test_a_narrow_peak_on_a_constant():
    """By hand: the peak is exp(10) = 22026 times the value far from it, and near the peak it is a Gaussian of sigma / sqrt(10)."""
    sigma = published_sigma((192, 256))
    x, y = simcc_labels(torch.tensor([[192.0, 256.0]], dtype=torch.float64), (384, 512), sigma, 10.0)
    for row, centre, width in ((x[0], 192, sigma[0]), (y[0], 256, sigma[1])):
        assert float(row[centre] / row[0]) == pytest.approx(22026.47, rel=1e-6)
        assert float(row[centre + 1] / row[centre]) == pytest.approx(np.exp(-10 / (2 * width**2)), rel=0.02)
    assert float(384 * x[0, 0]) == pytest.approx(
        0.0044, abs=2e-4
    )  # the constant far from the peak, as the docstring says


def test_the_bell_sits_between_bins_and_a_point_outside_still_has_a_distribution():
    x, y = simcc_labels(torch.tensor([[20.25, -40.0]]), (64, 96), (2.0, 2.0), 10.0)
    assert float(x[0, 20]) > float(x[0, 21]) > float(x[0, 19])
    assert y[0].numpy() == pytest.approx(np.full(96, 1 / 96), abs=1e-6)
