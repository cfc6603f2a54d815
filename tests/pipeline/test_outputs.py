import numpy as np
import pytest

from pipeline.outputs import keypoints, maps_and_scores

IDENTITY = np.eye(3)[:2]


def test_heatmap_negatives_are_cut_and_the_peak_is_the_confidence():
    raw = np.zeros((1, 3, 4, 5), np.float32)
    raw[0, 0, 1, 2], raw[0, 0, 3, 3] = 0.75, -2.0
    raw[0, 1] = -1.0
    raw[0, 2, 0, 0] = 1.5
    maps, scores = maps_and_scores(raw, "heatmap")
    assert scores.tolist() == [[0.75, 0.0, 1.0]]
    assert maps[0, 0].sum() == 0.75
    assert not maps[0, 1].any()
    assert maps[0, 2, 0, 0] == 1.5
    assert raw[0, 0, 3, 3] == -2.0  # the argument is as it was


def test_logits_become_distributions():
    raw = np.random.default_rng(0).normal(0, 3, (2, 3, 8, 6)).astype(np.float32)
    maps, _ = maps_and_scores(raw, "heatmap_logits")
    assert np.allclose(maps.sum(axis=(2, 3)), 1, atol=1e-6)  # 48 float32 roundings
    assert np.allclose(np.log(maps) - raw, (np.log(maps) - raw)[:, :, :1, :1], atol=1e-5)
    shifted, _ = maps_and_scores(raw + 500, "heatmap_logits")
    assert np.allclose(shifted, maps, atol=1e-5)  # 500 + x keeps 3e-5 of x


def test_score_of_logits_is_the_mass_within_two_pixels():
    """Peak at (x 4, y 3) with 30 %, 10 % at distance 2 in both, 25 % at distance 3, 35 % over two corners."""
    shares = np.zeros((1, 1, 9, 12))
    shares[0, 0, 3, 4], shares[0, 0, 5, 6], shares[0, 0, 3, 7] = 0.30, 0.10, 0.25
    shares[0, 0, 8, 0], shares[0, 0, 8, 11] = 0.15, 0.20
    raw = np.log(shares + 1e-12).astype(np.float32)
    _, scores = maps_and_scores(raw, "heatmap_logits")
    assert scores[0, 0] == pytest.approx(0.40, abs=1e-6)


def test_score_of_a_peak_in_the_corner_and_of_a_flat_map():
    corner = np.zeros((1, 1, 6, 8), np.float32)
    corner[0, 0, 0, 7] = 20.0
    flat = np.zeros((1, 1, 6, 8), np.float32)
    assert maps_and_scores(corner, "heatmap_logits")[1][0, 0] == pytest.approx(1, abs=1e-6)
    assert maps_and_scores(flat, "heatmap_logits")[1][0, 0] == pytest.approx(9 / 48, abs=1e-6)


@pytest.mark.parametrize(("kind", "affine"), [("heatmap", "classic"), ("heatmap", "udp"), ("heatmap_logits", "udp")])
def test_maps_without_a_positive_value_have_no_keypoint(kind, affine):
    maps = np.zeros((1, 2, 7, 9), np.float32)
    maps[0, 1, 3, 4] = 1.0
    points = keypoints(maps, IDENTITY[None], kind, affine)
    assert np.isnan(points[0, 0]).all()
    assert np.allclose(points[0, 1], [4, 3], atol=1e-6)


def test_refinement_follows_kind_and_convention():
    """A Gaussian of sigma 2 at (10.4, 12.2): a quarter from the largest pixel for `classic`, the point itself for the others."""
    y, x = np.mgrid[:24, :20]
    maps = np.exp(-((x - 10.4) ** 2 + (y - 12.2) ** 2) / 8)[None, None].astype(np.float32)
    assert keypoints(maps, IDENTITY[None], "heatmap", "classic").tolist() == [[[10.25, 12.25]]]
    for kind, affine in (("heatmap", "udp"), ("heatmap_logits", "udp"), ("heatmap_logits", "classic")):
        # Blurred or not, the logarithm is quadratic up to float32 and the blur's cut at 5 pixels.
        assert np.allclose(keypoints(maps, IDENTITY[None], kind, affine), [[[10.4, 12.2]]], atol=0.01)


def test_only_udp_heatmaps_are_blurred_first():
    """A tenth more on one pixel beside the peak moves the parabola of the raw map by 0.41 pixels, the blurred one's by less than 0.05."""
    y, x = np.mgrid[:24, :20]
    maps = np.exp(-((x - 10) ** 2 + (y - 12) ** 2) / 8)[None, None].astype(np.float32)
    maps[0, 0, 12, 11] += 0.1
    (blurred,), (raw,) = (keypoints(maps, IDENTITY[None], kind, "udp")[0] for kind in ("heatmap", "heatmap_logits"))
    # log 0.9825 and log 0.8825 beside log 1: gradient 0.0537, curvatures -0.1427 and -0.25, mixed -0.0537.
    assert raw[0] == pytest.approx(10 + 0.0537 * 0.25 / (0.1427 * 0.25 - 0.0537**2), abs=0.001)
    assert 10 < blurred[0] < 10.05


def test_keypoints_are_in_image_pixels():
    maps = np.zeros((2, 1, 5, 5), np.float32)
    maps[:, 0, 2, 3] = 1.0
    back = np.array([[[4.0, 0.0, 100.0], [0.0, 2.0, 50.0]], [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    assert np.allclose(keypoints(maps, back, "heatmap_logits", "udp"), [[[112, 54]], [[-2, 3]]], atol=1e-6)
