import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.pose.decode import decode_heatmaps
from pipeline.training import resample as distributions
from pipeline.training.resample import normalised_targets

WH = (48, 64)


def gaussians(points, sigma=2.0, wh=WH):
    """Return distributions (B, 1, H, W) around points (B, 2), in float32 as replayed maps."""
    (maps,) = distributions.gaussians(torch.tensor(points, dtype=torch.float64)[:, None], wh, sigma, bins=False)
    return maps.float()


def gaussian_bins(points, sigma=2.0, wh=WH):
    """Return the same as bins (B, 1, W) and (B, 1, H)."""
    x, y = distributions.gaussians(torch.tensor(points, dtype=torch.float64)[:, None], wh, sigma, bins=True)
    return x.float(), y.float()


def resample(targets, scale, shift, wh=WH, bins=False):
    count = len(targets[0])
    return distributions.resample_targets(
        targets,
        torch.tensor([scale] * count, dtype=torch.float64),
        torch.tensor([shift] * count, dtype=torch.float64),
        wh,
        bins,
    )


def resampled(maps, scale, shift, wh=WH):
    (result,) = resample((maps,), scale, shift, wh)
    return result


def mean(maps):
    """Return the centre of mass (B, 2), x and y, of maps (B, 1, H, W)."""
    shares = normalised_targets((maps.double(),))[0][:, 0]
    x = (shares.sum(dim=1) * torch.arange(maps.shape[3])).sum(dim=1)
    y = (shares.sum(dim=2) * torch.arange(maps.shape[2])).sum(dim=1)
    return torch.stack([x, y], dim=1).numpy()


@given(st.floats(-20, 70), st.floats(-20, 80), st.floats(0.5, 4))
def test_gaussians_sum_to_one_wherever_they_are(x, y, sigma):
    (maps,) = distributions.gaussians(torch.tensor([[x, y]]), WH, sigma, bins=False)
    assert maps.shape == (1, 64, 48)
    assert float(maps.sum()) == pytest.approx(1, abs=1e-5)  # 3,072 float32 additions
    across, down = distributions.gaussians(torch.tensor([[x, y]]), WH, sigma, bins=True)
    assert (across.shape, down.shape) == ((1, 48), (1, 64))
    assert torch.allclose(maps.sum(dim=1), across, atol=1e-6) and torch.allclose(maps.sum(dim=2), down, atol=1e-6)


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
    ours = distributions.gaussians(point, WH, 2.0, bins=False)[0][0].numpy()
    assert np.unravel_index(ours.argmax(), ours.shape) == (18, 22)
    ratio = ours[17:20, 21:24] / around
    assert np.allclose(ratio, ratio[1, 1], rtol=1e-6)  # theirs are float32
    # The factor is the Gaussian's own integral, 1 / (2 pi sigma^2), nothing of it being cut off here.
    assert ratio[1, 1] == pytest.approx(1 / (8 * np.pi), rel=1e-6)


def test_normalised():
    maps = torch.tensor([[[[1.0], [3.0]], [[0.0], [0.0]]]])
    assert normalised_targets((maps,))[0].tolist() == [[[[0.25], [0.75]], [[0.0], [0.0]]]]
    x, y = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]), torch.tensor([[[2.0, 2.0, 4.0], [0.0, 5.0, 0.0]]])
    across, down = normalised_targets((x, y))
    assert across.tolist() == [[[0.25, 0.75], [0.0, 0.0]]]
    assert down.tolist() == [[[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]]]


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


SPLINE = torch.tensor([[[[0.0, 8.0, 32.0, 8.0, 0.0]]]])
"""Values of the cubic B-spline of factor 48 in the middle at the pixels: 48 times 0, 1/6, 2/3, 1/6, 0."""


def test_half_a_pixel_is_the_splines_own_value():
    """Half a pixel from its centre it is 23 / 48, one and a half pixels 1 / 48."""
    found = resampled(SPLINE, (1.0, 1.0), (0.5, 0.0), (4, 1))
    assert torch.allclose(found, torch.tensor([1.0, 23.0, 23.0, 1.0]), rtol=0, atol=1e-5)  # float32 of up to 32


def test_twice_as_coarse_is_under_a_spline_twice_as_wide():
    """Its values at 1, 0 and 1 of its pixels, over two."""
    found = resampled(SPLINE, (2.0, 1.0), (0.0, 0.0), (3, 1))
    assert torch.allclose(found, torch.tensor([4.0, 16.0, 4.0]), rtol=0, atol=1e-5)


def test_finer_maps_are_scipys_cubic_spline():
    """scipy.ndimage on maps with zeros around them; negative swings cut."""
    maps = torch.rand(1, 1, 9, 7)
    found = resampled(maps, (0.4, 0.7), (-0.6, -0.3), (20, 15))[0, 0].numpy()
    rows, columns = np.meshgrid(0.7 * np.arange(15) - 0.3, 0.4 * np.arange(20) - 0.6, indexing="ij")
    around = np.pad(maps[0, 0].double().numpy(), 20)
    expected = ndimage.map_coordinates(around, [rows + 20, columns + 20], order=3).clip(0)
    assert np.abs(found - expected).max() < 1e-6  # float32 of up to 1.5


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("scale", [0.43, 0.85, 1.0, 1.15, 1.3])
def test_decoded_peaks_stay_where_they_are(scale, sigma):
    """To 0.04 of a source pixel. Linear interpolation and triangles leave them up to 0.3 and 0.4 away: at 0.43 and 1.3."""
    random = np.random.default_rng(0)
    points = np.array([24.0, 32.0]) + random.uniform(-4, 4, (60, 2))
    shift = np.array([24.0, 32.0]) - scale * (np.array([23.3, 31.6]))
    decoded, _ = decode_heatmaps(
        resampled(gaussians(points.tolist(), sigma), (scale, scale), tuple(shift)).numpy(), "newton"
    )
    assert np.abs(decoded[:, 0] * scale + shift - points).max() < 0.04


@pytest.mark.parametrize("bins", [False, True], ids=["maps", "bins"])
@pytest.mark.parametrize("scale", [0.125, 0.9, 1.2, -0.9])
def test_shifts_of_each_keypoint_are_those_of_one_at_a_time(scale, bins):
    """Maps to either, and bins to either; float32 sums of up to 60 values of 1 in another order."""
    shifts = torch.tensor([[[0.0, 0.0], [1.25, -2.4]], [[-3.0, 1.5], [40.6, 2.0]]], dtype=torch.float64)
    scales = torch.tensor([[scale, abs(scale)]] * 2, dtype=torch.float64)
    for targets in ((torch.rand(2, 2, 12, 10),), (torch.rand(2, 2, 10), torch.rand(2, 2, 12))):
        both = distributions.resample_targets(targets, scales, shifts, (9, 14), bins)
        for k in range(2):
            alone = distributions.resample_targets(
                tuple(t[:, k : k + 1] for t in targets), scales, shifts[:, k], (9, 14), bins
            )
            for part, expected in zip(both, alone, strict=True):
                assert torch.allclose(part[:, k : k + 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 2.0, 0.8, 1.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_mean_and_mass_are_kept(scale, sign):
    """Source pixels are shared out among target pixels in proportion: mass times scale squared is kept, and so is the mean.

    As far as a grid integrates a Gaussian of sigma 2: float32.
    """
    points = [(20.3, 30.6), (22.0, 33.5), (24.9, 31.1)]
    maps = gaussians(points)
    wh = (60, 80)
    centre, middle = np.array([22.0, 32.0]), (np.array(wh) - 1) / 2
    signs = np.array([sign, 1.0])
    shift = centre - signs * scale * middle
    result = resampled(maps, (sign * scale, scale), tuple(shift), wh)
    expected = (np.array(points) - shift) / (signs * scale)
    assert np.abs(mean(result) - expected).max() < 1e-3
    assert np.allclose(result.sum(dim=(1, 2, 3)) * scale**2, 1, atol=1e-4)
    assert np.allclose(normalised_targets((result,))[0].sum(dim=(1, 2, 3)), 1, atol=1e-5)


def test_two_frames_in_one_batch():
    maps = torch.rand(2, 1, 5, 5)
    (both,) = distributions.resample_targets(
        (maps,),
        torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64),
        (5, 5),
        bins=False,
    )
    assert torch.equal(both, torch.stack([maps[0], maps[1].flip(2)]))


def test_bins_of_the_same_frame_are_given_back():
    x, y = torch.rand(2, 3, 7), torch.rand(2, 3, 9)
    across, down = resample((x, y), (1.0, 1.0), (0.0, 0.0), (7, 9), bins=True)
    assert torch.equal(across, x) and torch.equal(down, y)


def test_mirrored_bins_are_the_first_ones_in_their_own_frame():
    """Input pixels 0-7 are bins 0, 2, ... 14 of 16; mirrored, bin b shows bin 14 - b, and bin 15 nothing: no plain reversal."""
    x, y = torch.rand(2, 3, 16), torch.rand(2, 3, 9)
    across, down = resample((x, y), (-1.0, 1.0), (14.0, 0.0), (16, 9), bins=True)
    assert torch.equal(across[:, :, :15], x[:, :, :15].flip(2))
    assert not across[:, :, 15].any()
    assert torch.equal(down, y)


def test_each_axis_of_bins_has_its_own_scale():
    """x half a bin on, y twice as coarse: by hand."""
    x, y = torch.tensor([[[0.0, 4.0, 8.0, 2.0]]]), torch.tensor([[[0.0, 4.0, 8.0, 4.0, 2.0]]])
    across, down = resample((x, y), (1.0, 2.0), (0.5, 0.0), (3, 3), bins=True)
    assert across.tolist() == [[[2.0, 6.0, 5.0]]]
    assert down.tolist() == [[[1.0, 6.0, 2.0]]]


def test_bins_become_maps_as_their_product():
    """Under a triangle of two target pixels: a half of its own bin, a quarter of each neighbour; outside there is nothing."""
    x, y = torch.tensor([[[1.0, 3.0]]]) / 4, torch.tensor([[[0.0, 1.0, 1.0]]]) / 2
    (maps,) = resample((x, y), (1.0, 1.0), (0.0, 0.0), (2, 3), bins=False)
    across, down = np.array([1 / 8 + 3 / 16, 1 / 16 + 3 / 8]), np.array([1 / 8, 1 / 4 + 1 / 8, 1 / 8 + 1 / 4])
    assert maps.tolist() == [[(down[:, None] * across).tolist()]]


def test_maps_become_bins_by_summing_inside_the_frame():
    """A frame of three columns and two rows, one column to the right and one row down of maps of 3 x 3: the last column is outside."""
    maps = torch.tensor([[[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]]]])
    across, down = resample((maps,), (1.0, 1.0), (1.0, 1.0), (3, 2), bins=True)
    assert across[0, 0].tolist() == pytest.approx([16.0 + 128.0, 32.0 + 256.0, 0.0], rel=1e-6)
    assert down[0, 0].tolist() == pytest.approx([16.0 + 32.0, 128.0 + 256.0], rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [0.125, 0.11])
def test_bins_of_maps_peak_where_the_maps_do(scale, sign):
    """Eight or nine bins a map pixel: the spline's top is half a bin off by the grid, and by under a hundredth of a map pixel."""
    points = np.array([(20.3, 30.6), (22.0, 33.5), (24.9, 31.1), (20.5, 30.5)])
    wh = (384, 512)
    shift = np.array([22.0, 32.0]) - np.array([sign * scale, scale]) * (np.array(wh) - 1) / 2
    bins = resample((gaussians(points.tolist()),), (sign * scale, scale), tuple(shift), wh, bins=True)
    found = np.stack([part[:, 0].argmax(dim=1).numpy() for part in bins], axis=1)
    assert np.abs(found * np.array([sign * scale, scale]) + shift - points).max() < scale / 2 + 0.01
    assert np.abs(found - (points - shift) / np.array([sign * scale, scale])).max() < 1


def test_maps_of_narrow_bins_can_be_decoded():
    """Bins of sigma 1.8, eight to a map pixel: a parabola through the logarithm finds the point between pixels to 0.05.

    A triangle of one pixel would leave two pixels, on a line between which no parabola can be placed.
    """
    random = np.random.default_rng(0)
    points = random.uniform(100, 250, (40, 2))
    (maps,) = resample(gaussian_bins(points.tolist(), 1.8, (384, 512)), (8.0, 8.0), (0.0, 0.0), bins=False)
    decoded, _ = decode_heatmaps(maps.numpy(), "newton")
    assert np.abs(decoded[:, 0] - points / 8).max() < 0.05


def test_filters_keep_mean_and_mass():
    """Of either conversion: shares are weighed about the point asked for. Mass times scale squared is 1 as far as a grid integrates."""
    random = np.random.default_rng(1)
    points = random.uniform(100, 250, (40, 2))
    (maps,) = resample(gaussian_bins(points.tolist(), 5.0, (384, 512)), (8.0, 8.0), (0.0, 0.0), bins=False)
    assert np.abs(mean(maps) - points / 8).max() < 1e-3
    assert np.allclose(maps.sum(dim=(1, 2, 3)) * 64, 1, atol=1e-3)
    across, down = resample((gaussians((points / 8).tolist()),), (0.125, 0.125), (0.0, 0.0), (384, 512), bins=True)
    for part, expected in ((across, points[:, 0]), (down, points[:, 1])):
        shares = normalised_targets((part.double(),))[0][:, 0]
        assert np.abs((shares @ torch.arange(part.shape[-1]).double()).numpy() - expected).max() < 0.01
        assert np.allclose(part.sum(dim=(1, 2)) / 64, 1, atol=1e-3)
