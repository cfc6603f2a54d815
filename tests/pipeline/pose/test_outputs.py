from dataclasses import replace

import numpy as np
import pytest

from pipeline.pose.outputs import as_maps, decode_keypoints, maps_and_scores, output_wh
from tests.pipeline.examples import spec

IDENTITY = np.eye(3)[:2]


def of(kind, affine="udp"):
    return spec(kind=kind, affine=affine)


def test_heatmap_negatives_are_cut_and_the_peak_is_the_confidence():
    raw = np.zeros((1, 3, 4, 5), np.float32)
    raw[0, 0, 1, 2], raw[0, 0, 3, 3] = 0.75, -2.0
    raw[0, 1] = -1.0
    raw[0, 2, 0, 0] = 1.5
    (maps,), scores = maps_and_scores((raw,), of("heatmap"))
    assert scores.tolist() == [[0.75, 0.0, 1.0]]
    assert maps[0, 0].sum() == 0.75
    assert not maps[0, 1].any()
    assert maps[0, 2, 0, 0] == 1.5
    assert raw[0, 0, 3, 3] == -2.0  # the argument is as it was


def test_logits_become_distributions():
    raw = np.random.default_rng(0).normal(0, 3, (2, 3, 8, 6)).astype(np.float32)
    (maps,), _ = maps_and_scores((raw,), of("heatmap_logits"))
    assert np.allclose(maps.sum(axis=(2, 3)), 1, atol=1e-6)  # 48 float32 roundings
    assert np.allclose(np.log(maps) - raw, (np.log(maps) - raw)[:, :, :1, :1], atol=1e-5)
    (shifted,), _ = maps_and_scores((raw + 500,), of("heatmap_logits"))
    assert np.allclose(shifted, maps, atol=1e-5)  # 500 + x keeps 3e-5 of x


def test_score_of_logits_is_the_mass_within_two_pixels():
    """Peak at (x 4, y 3) with 30 %, 10 % at distance 2 in both, 25 % at distance 3, 35 % over two corners."""
    shares = np.zeros((1, 1, 9, 12))
    shares[0, 0, 3, 4], shares[0, 0, 5, 6], shares[0, 0, 3, 7] = 0.30, 0.10, 0.25
    shares[0, 0, 8, 0], shares[0, 0, 8, 11] = 0.15, 0.20
    raw = np.log(shares + 1e-12).astype(np.float32)
    _, scores = maps_and_scores((raw,), of("heatmap_logits"))
    assert scores[0, 0] == pytest.approx(0.40, abs=1e-6)


def test_score_of_a_peak_in_the_corner_and_of_a_flat_map():
    corner = np.zeros((1, 1, 6, 8), np.float32)
    corner[0, 0, 0, 7] = 20.0
    flat = np.zeros((1, 1, 6, 8), np.float32)
    assert maps_and_scores((corner,), of("heatmap_logits"))[1][0, 0] == pytest.approx(1, abs=1e-6)
    assert maps_and_scores((flat,), of("heatmap_logits"))[1][0, 0] == pytest.approx(9 / 48, abs=1e-6)


@pytest.mark.parametrize(("kind", "affine"), [("heatmap", "classic"), ("heatmap", "udp"), ("heatmap_logits", "udp")])
def test_maps_without_a_positive_value_have_no_keypoint(kind, affine):
    maps = np.zeros((1, 2, 7, 9), np.float32)
    maps[0, 1, 3, 4] = 1.0
    points = decode_keypoints((maps,), IDENTITY[None], of(kind, affine))
    assert np.isnan(points[0, 0]).all()
    assert np.allclose(points[0, 1], [4, 3], atol=1e-6)


def test_refinement_follows_kind_and_convention():
    """A Gaussian of sigma 2 at (10.4, 12.2): a quarter from the largest pixel for `classic`, the point itself for the others."""
    y, x = np.mgrid[:24, :20]
    maps = np.exp(-((x - 10.4) ** 2 + (y - 12.2) ** 2) / 8)[None, None].astype(np.float32)
    assert decode_keypoints((maps,), IDENTITY[None], of("heatmap", "classic")).tolist() == [[[10.25, 12.25]]]
    for kind, affine in (("heatmap", "udp"), ("heatmap_logits", "udp"), ("heatmap_logits", "classic")):
        # Blurred or not, the logarithm is quadratic up to float32 and the blur's cut at 5 pixels.
        assert np.allclose(decode_keypoints((maps,), IDENTITY[None], of(kind, affine)), [[[10.4, 12.2]]], atol=0.01)


def test_only_udp_heatmaps_are_blurred_first():
    """A tenth more on one pixel beside the peak moves the parabola of the raw map by 0.41 pixels, the blurred one's by less than 0.05."""
    y, x = np.mgrid[:24, :20]
    maps = np.exp(-((x - 10) ** 2 + (y - 12) ** 2) / 8)[None, None].astype(np.float32)
    maps[0, 0, 12, 11] += 0.1
    (blurred,), (raw,) = (
        decode_keypoints((maps,), IDENTITY[None], of(kind))[0] for kind in ("heatmap", "heatmap_logits")
    )
    # log 0.9825 and log 0.8825 beside log 1: gradient 0.0537, curvatures -0.1427 and -0.25, mixed -0.0537.
    assert raw[0] == pytest.approx(10 + 0.0537 * 0.25 / (0.1427 * 0.25 - 0.0537**2), abs=0.001)
    assert 10 < blurred[0] < 10.05


def test_keypoints_are_in_image_pixels():
    maps = np.zeros((2, 1, 5, 5), np.float32)
    maps[:, 0, 2, 3] = 1.0
    back = np.array([[[4.0, 0.0, 100.0], [0.0, 2.0, 50.0]], [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    assert np.allclose(decode_keypoints((maps,), back, of("heatmap_logits")), [[[112, 54]], [[-2, 3]]], atol=1e-6)


def test_simcc_is_a_softmax_of_ten_times_the_score():
    """Scores 0, 0.1, 0.2 are 1 : e : e^2; a factor of 5 makes them 1 : sqrt e : e."""
    x = np.array([[[0.0, 0.1, 0.2]]], np.float32)
    y = np.array([[[0.3, 0.3]]], np.float32)
    (across, down), _ = maps_and_scores((x, y), of("simcc"))
    e = np.e
    assert np.allclose(across, np.array([1, e, e**2]) / (1 + e + e**2), atol=1e-6)
    assert down.tolist() == [[[0.5, 0.5]]]
    (across, _), _ = maps_and_scores((x, y), spec(kind="simcc", factor=5.0))
    assert np.allclose(across, np.array([1, e**0.5, e]) / (1 + e**0.5 + e), atol=1e-6)
    assert across.dtype == np.float32


def test_simcc_of_large_scores_stays_finite():
    """exp(10 x 500) overflows even float64; a sure bin takes all."""
    x = np.array([[[500.0, -500.0, 499.0]]], np.float32)
    (across, _), scores = maps_and_scores((x, x), of("simcc"))
    assert np.allclose(across, np.array([1, 0, np.exp(-10)]) / (1 + np.exp(-10)), atol=1e-7)
    assert scores.tolist() == [[1.0]]


def test_confidence_of_simcc_is_the_smaller_raw_maximum():
    x = np.array([[[0.1, 0.9], [0.4, 0.2], [1.7, 0.0], [-0.2, -0.1]]], np.float32)
    y = np.array([[[0.6, 0.5], [0.1, 0.8], [1.2, 1.3], [0.9, 0.8]]], np.float32)
    assert np.allclose(maps_and_scores((x, y), of("simcc"))[1], [[0.6, 0.4, 1.0, 0.0]], atol=1e-7)


# MMPose 1.3.2, SimCCLabel with split 2, input (width, height) and sigma in bins: keypoints in input pixels, the largest bins
# of what it encodes, the seven values of x around the first one's, and what it decodes, in input pixels.
MMPOSE = [
    {
        "input_wh": (192, 256),
        "sigma": (4.9, 5.66),
        "keypoints": [(87.53661588547857, 73.98055446456583), (29.395588898983984, 124.35697971018223)],
        "bins": [(175, 148), (59, 249)],
        "around": [0.829093873500824, 0.9200763702392578, 0.9793906807899475, 1.0, 0.9793906807899475],
        "decoded": [(87.5, 74.0), (29.5, 124.5)],
    },
    {
        "input_wh": (256, 256),
        "sigma": (5.66, 5.66),
        "keypoints": [(243.60165165116862, 230.65523537856205), (131.95287204477816, 14.739847659393902)],
        "bins": [(487, 461), (264, 29)],
        "around": [0.8689508438110352, 0.93947833776474, 0.984513521194458, 1.0, 0.984513521194458],
        "decoded": [(243.5, 230.5), (132.0, 14.5)],
    },
]


@pytest.mark.parametrize("affine", ["classic", "udp"])
@pytest.mark.parametrize("golden", MMPOSE, ids=["192 x 256", "256 x 256"])
def test_simcc_decodes_as_mmpose_does(golden, affine):
    """A Gaussian with its top on MMPose's bin has MMPose's values around it, and decodes to half the bin's number.

    Whatever the affine of the crop: under `udp` the last input pixel, 191, is bin 382 of 384 and not the last one.
    """
    wh = golden["input_wh"]
    bins = [np.arange(2 * side) - np.array(golden["bins"])[:, axis, None] for axis, side in enumerate(wh)]
    raw = tuple(
        np.exp(-((b / s) ** 2) / 2)[None].astype(np.float32) for b, s in zip(bins, golden["sigma"], strict=True)
    )
    first = golden["bins"][0][0]
    assert np.allclose(raw[0][0, 0, first - 3 : first + 2], golden["around"], atol=1e-6)  # float32
    network = spec(kind="simcc", input_wh=wh, affine=affine)
    maps, scores = maps_and_scores(raw, network)
    assert scores.tolist() == [[1.0, 1.0]]
    assert output_wh(maps) == (2 * wh[0], 2 * wh[1])
    to_input = np.linalg.inv(np.vstack([network.target_from_input(output_wh(maps)), [0, 0, 1]]))[:2]
    assert decode_keypoints(maps, to_input, network).tolist() == [[list(point) for point in golden["decoded"]]]
    # Encoding went to the nearest bin, half a pixel apart: at most a quarter of a pixel off.
    assert np.abs(np.array(golden["decoded"]) - golden["keypoints"]).max() <= 0.25


def test_simcc_keypoints_are_in_image_pixels():
    x, y = np.zeros((1, 2, 8), np.float32), np.zeros((1, 2, 6), np.float32)
    x[0, 0, 7], y[0, 0, 2] = 1.0, 1.0
    x[0, 1, 3] = 1.0  # and nothing in y: no keypoint
    back = np.array([[[0.0, -1.0, 10.0], [2.0, 0.0, 5.0]]])
    points = decode_keypoints((x, y), back, of("simcc"))
    assert points[0, 0].tolist() == [8.0, 19.0]
    assert np.isnan(points[0, 1]).all()


def test_bins_to_look_at_are_their_product():
    x, y = np.array([[0.25, 0.75]]), np.array([[0.0, 0.5, 0.5]])
    assert as_maps((x, y)).tolist() == [[[0, 0], [0.125, 0.375], [0.125, 0.375]]]
    maps = np.ones((1, 3, 2))
    assert as_maps((maps,)) is maps
    assert (output_wh((maps,)), output_wh((x, y))) == ((2, 3), (2, 3))


def test_dark_finds_where_the_gaussian_is():
    """Gaussians of 2 pixels around places between pixels, as a network trained for DARK draws them; the standard moves by quarters."""
    places = np.array([[10.3, 20.1], [30.62, 41.55]])
    y, x = np.mgrid[:64, :48]
    maps = np.stack([np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in places])[None].astype(np.float32)
    for blur in (11, 17):
        dark = decode_keypoints((maps,), IDENTITY[None], replace(of("heatmap", "classic"), decode="dark", blur=blur))
        assert np.abs(dark[0] - places).max() < 0.01
    standard = decode_keypoints((maps,), IDENTITY[None], of("heatmap", "classic"))
    assert standard[0].tolist() == [[10.25, 20.25], [30.75, 41.75]]
