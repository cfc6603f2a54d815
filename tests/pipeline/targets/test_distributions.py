import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.targets.distributions import gaussian_distributions, normalised, resample

WH = (48, 64)


def gaussians(points, sigma=2.0, wh=WH):
    """Distributions (B, 1, H, W) around points (B, 2), float32 as replayed maps are."""
    return gaussian_distributions(torch.tensor(points, dtype=torch.float64)[:, None], wh, sigma).float()


def resampled(maps, scale, shift, wh=WH):
    count = len(maps)
    return resample(
        maps,
        torch.tensor([scale] * count, dtype=torch.float64),
        torch.tensor([shift] * count, dtype=torch.float64),
        wh,
    )


def mean(maps):
    """Centre of mass (B, 2) of maps (B, 1, H, W) as x, y."""
    shares = normalised(maps.double())[:, 0]
    x = (shares.sum(dim=1) * torch.arange(maps.shape[3])).sum(dim=1)
    y = (shares.sum(dim=2) * torch.arange(maps.shape[2])).sum(dim=1)
    return torch.stack([x, y], dim=1).numpy()


@given(st.floats(-20, 70), st.floats(-20, 80), st.floats(0.5, 4))
def test_gaussians_sum_to_one_wherever_they_are(x, y, sigma):
    maps = gaussian_distributions(torch.tensor([[x, y]]), WH, sigma)
    assert maps.shape == (1, 64, 48)
    assert float(maps.sum()) == pytest.approx(1, abs=1e-5)  # 3,072 float32 additions


def test_gaussians_are_udps_up_to_a_factor():
    """MMPose 1.3.2, UDPHeatmap, sigma 2: the 3 x 3 values around the peak of keypoint (87.54, 73.98) of a 192 x 256 input."""
    around = np.array(
        [
            [0.7862160205841064, 0.7942014932632446, 0.6248070001602173],
            [0.9549118280410767, 0.9646106958389282, 0.7588697671890259],
            [0.903256356716156, 0.9124305844306946, 0.7178191542625427],
        ]
    )
    point = torch.tensor([[87.53661588547857 * 47 / 191, 73.98055446456583 * 63 / 255]], dtype=torch.float64)
    ours = gaussian_distributions(point, WH, 2.0)[0].numpy()
    assert np.unravel_index(ours.argmax(), ours.shape) == (18, 22)
    ratio = ours[17:20, 21:24] / around
    assert np.allclose(ratio, ratio[1, 1], rtol=1e-6)  # theirs are float32
    # The factor is the Gaussian's own integral, 1 / (2 pi sigma^2), nothing of it being cut off here.
    assert ratio[1, 1] == pytest.approx(1 / (8 * np.pi), rel=1e-6)


def test_normalised():
    maps = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    assert normalised(maps).tolist() == [[[0.25, 0.75]], [[0.0, 0.0]]]


def test_identity_gives_the_input_back():
    maps = torch.rand(2, 3, 9, 7)
    assert torch.equal(resampled(maps, (1.0, 1.0), (0.0, 0.0), (7, 9)), maps)


def test_mirror_reverses_exactly():
    maps = torch.rand(2, 3, 9, 7)
    assert torch.equal(resampled(maps, (-1.0, 1.0), (6.0, 0.0), (7, 9)), maps.flip(3))


@pytest.mark.parametrize(("x", "y"), [(2, 1), (-3, 0), (0, 20)])
def test_whole_pixels_shift_exactly_and_the_outside_is_zero(x, y):
    maps = torch.rand(1, 1, 9, 7)
    moved = resampled(maps, (1.0, 1.0), (float(x), float(y)), (7, 9))[0, 0]
    for row in range(9):
        for column in range(7):
            inside = 0 <= row + y < 9 and 0 <= column + x < 7
            assert moved[row, column] == (maps[0, 0, row + y, column + x] if inside else 0)


def test_half_a_pixel_is_the_mean_of_two():
    maps = torch.tensor([[[[0.0, 4.0, 8.0, 2.0]]]])
    assert resampled(maps, (1.0, 1.0), (0.5, 0.0), (3, 1)).tolist() == [[[[2.0, 6.0, 5.0]]]]


def test_twice_as_coarse_weighs_a_quarter_half_a_quarter():
    maps = torch.tensor([[[[0.0, 4.0, 8.0, 4.0, 2.0]]]])
    assert resampled(maps, (2.0, 1.0), (0.0, 0.0), (3, 1)).tolist() == [[[[1.0, 6.0, 2.0]]]]


@pytest.mark.parametrize("scale", [0.5, 2.0, 0.8, 1.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_mean_and_mass_are_kept(scale, sign):
    """Source pixels are shared out among target pixels in proportion: mass times scale squared is kept, and so is the mean.

    From coarse to fine that holds as far as the grid integrates a Gaussian of sigma 2: interpolating at steps of 0.8 is
    off by 0.01 pixel, at steps of 0.5 by nothing, which is where the limits below come from.
    """
    points = [(20.3, 30.6), (22.0, 33.5), (24.9, 31.1)]
    maps = gaussians(points)
    wh = (60, 80)
    centre, middle = np.array([22.0, 32.0]), (np.array(wh) - 1) / 2
    signs = np.array([sign, 1.0])
    shift = centre - signs * scale * middle
    result = resampled(maps, (sign * scale, scale), tuple(shift), wh)
    expected = (np.array(points) - shift) / (signs * scale)
    assert np.abs(mean(result) - expected).max() < (0.02 if scale == 0.8 else 1e-3)
    assert np.allclose(result.sum(dim=(1, 2, 3)) * scale**2, 1, atol=0.005 if scale == 0.8 else 1e-4)
    assert np.allclose(normalised(result).sum(dim=(1, 2, 3)), 1, atol=1e-5)


def test_two_frames_in_one_batch():
    maps = torch.rand(2, 1, 5, 5)
    both = resample(
        maps,
        torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64),
        (5, 5),
    )
    assert torch.equal(both, torch.stack([maps[0], maps[1].flip(2)]))
