"""Flip averaging, on networks that see mirror images rightly by construction: averaged with their mirror they give themselves."""

import numpy as np
import pytest

from pipeline.pose.flip_averaging import unmirrored, with_flip_averaging
from pipeline.pose.outputs import decode_keypoints, maps_and_scores
from pipeline.pose.skeletons import COCO17, Skeleton
from tests.pipeline.examples import spec

SIZES = {
    "heatmap": {"input_wh": (96, 128), "target": (24, 32), "sigma": 2.0},
    "heatmap_logits": {"input_wh": (96, 128), "target": (24, 32), "sigma": 2.0},
    "simcc": {"input_wh": (96, 128), "target": (192, 256), "sigma": 5.66},
}
POINTS = np.random.default_rng(0).uniform((32, 32), (64, 96), (5, 17, 2))
"""Of five people in input pixels, 8 map pixels (4 sigma) and more from every border."""


def images(count=5):
    """Crops of one colour, a person's number in red; the left half is blue, so a mirror image can be told."""
    crops = np.zeros((count, 128, 96, 3), np.uint8)
    crops[..., 0] = np.arange(count)[:, None, None]
    crops[:, :, :48, 2] = 200
    return crops


def seeing(network, target, sigma):
    """A forward pass that knows POINTS and draws Gaussians there, in the spec's own frame; a mirror image shows them mirrored,
    and what looked like a left wrist looks like a right one."""
    seen = []

    def forward(crops):
        seen.append(crops)
        swapped = crops[:, 0, 0, 2] == 0
        points = POINTS[crops[:, 0, 0, 0]]
        mirror = np.stack([95 - points[..., 0], points[..., 1]], axis=-1)[:, network.skeleton.mirror]
        there = np.where(swapped[:, None, None], mirror, points) * np.diag(network.target_from_input(target))
        rows = [
            np.exp(-(((np.arange(count) - there[..., axis, None]) / sigma) ** 2) / 2)
            for axis, count in enumerate(target)
        ]
        if network.kind == "simcc":
            return tuple(row.astype(np.float32) for row in rows)
        return ((rows[1][..., :, None] * rows[0][..., None, :]).astype(np.float32),)

    return forward, seen


def case(kind, affine, flip=True):
    size = SIZES[kind]
    network = spec(kind=kind, affine=affine, input_wh=size["input_wh"], flip=flip)
    return network, *seeing(network, size["target"], size["sigma"])


@pytest.mark.parametrize(
    ("kind", "affine", "error"),
    [
        # Columns fall on columns: 23 - x, and over bins 190 - x. Float32 leaves 1e-7 of 1.
        ("heatmap", "udp", 1e-6),
        ("heatmap_logits", "udp", 1e-6),
        ("simcc", "classic", 1e-6),
        ("simcc", "udp", 1e-6),
        # 23.75 - x lies between columns. A line between two is below a Gaussian's top by 3 / 4 x 1 / 4 / 2 x its second
        # derivative, 1 / sigma^2 = 1 / 4, so 0.0234, and the mean of both by half of that.
        ("heatmap", "classic", 0.0118),
        ("heatmap_logits", "classic", 0.0118),
    ],
)
def test_a_network_that_mirrors_rightly_is_its_own_average(kind, affine, error):
    network, forward, _ = case(kind, affine)
    for ours, plain in zip(with_flip_averaging(forward, network)(images()), forward(images()), strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == plain.shape
        assert np.abs(ours - plain).max() <= error
    if affine == "classic" and kind != "simcc":
        assert np.abs(ours - plain).max() > 0.01  # the budget is what it costs


@pytest.mark.parametrize("affine", ["classic", "udp"])
@pytest.mark.parametrize("kind", SIZES)
def test_the_average_moves_no_keypoint(kind, affine):
    """Centre of mass along x, in output pixels: linear interpolation keeps it; a plain reversal would move it by 0.375 of a pixel
    under `classic` and by half a bin. What the border repeats is e^-8 of the top, eight pixels away, of a mass of 5 tops."""
    network, forward, _ = case(kind, affine)
    ours, plain = (
        outputs(images())[0].astype(np.float64) for outputs in (with_flip_averaging(forward, network), forward)
    )
    across = [array if kind == "simcc" else array.sum(axis=2) for array in (ours, plain)]
    centres = [(row * np.arange(row.shape[2])).sum(axis=2) / row.sum(axis=2) for row in across]
    assert np.abs(centres[0] - centres[1]).max() < 1e-3


@pytest.mark.parametrize("affine", ["classic", "udp"])
@pytest.mark.parametrize("kind", ["heatmap", "simcc"])
def test_decoded_keypoints_stay(kind, affine):
    """To what their decoding can tell apart: nothing over bins and under `udp`; under `classic` two neighbours that were nearly alike
    may change places: a quarter of a map pixel to the other side, or half of one to the next, two input pixels."""
    network, forward, _ = case(kind, affine)
    size = SIZES[kind]["target"]
    back = np.linalg.inv(np.vstack([network.target_from_input(size), [0, 0, 1]]))[:2]
    points = []
    for outputs in (with_flip_averaging(forward, network), forward):
        maps, _ = maps_and_scores(outputs(images()), network)
        points.append(decode_keypoints(maps, np.broadcast_to(back, (5, 2, 3)), network))
    away = np.abs(points[0] - points[1])
    assert away.max() <= (2.0 if (kind, affine) == ("heatmap", "classic") else 1e-3)
    assert (away > 1e-3).mean() < 0.1


def test_left_and_right_are_swapped():
    """Without the swap the average would show two half Gaussians, at the wrist and at the mirror place of the other one."""
    network, forward, _ = case("simcc", "classic")
    x, y = with_flip_averaging(forward, network)(images())
    left = COCO17.index("left_wrist")
    assert x[:, left].argmax(axis=1).tolist() == np.rint(2 * POINTS[:, left, 0]).astype(int).tolist()
    assert (x.max(axis=2) > 0.99).all() and (y.max(axis=2) > 0.99).all()


def test_flip_off_is_the_network_itself():
    network, forward, seen = case("heatmap", "udp", flip=False)
    assert with_flip_averaging(forward, network) is forward
    assert seen == []


def test_the_network_is_shown_the_crops_and_their_mirror_images():
    network, forward, seen = case("heatmap", "udp")
    crops = images(2)
    with_flip_averaging(forward, network)(crops)
    shown = sorted(seen, key=lambda part: int(part[0, 0, 0, 2]))
    assert np.array_equal(shown[0], crops[:, :, ::-1]) and np.array_equal(shown[1], crops)
    assert all(part.flags.c_contiguous for part in shown)


EYES = Skeleton("eyes", ("nose", "left_eye", "right_eye"))


def test_columns_of_classic_maps_by_hand():
    """16 input pixels, 4 columns: column x of the crop is column 3.75 - x of the mirror's; beyond the last one it is the last one's."""
    network = spec(kind="heatmap", affine="classic", input_wh=(16, 16), skeleton=EYES)
    row = np.array([16.0, 8.0, 4.0, 32.0], np.float32)
    maps = np.stack([row, 2 * row, 3 * row])[None, :, None, :].repeat(4, axis=2)
    (ours,) = unmirrored((maps,), network)
    by_hand = np.array([32, 0.25 * 4 + 0.75 * 32, 0.25 * 8 + 0.75 * 4, 0.25 * 16 + 0.75 * 8])
    assert ours[0, :, 2].tolist() == [by_hand.tolist(), (3 * by_hand).tolist(), (2 * by_hand).tolist()]
    assert maps[0, 1, 0].tolist() == (2 * row).tolist()  # the argument is as it was


def test_columns_of_udp_maps_and_bins_by_hand():
    """4 columns of 16 pixels under `udp` are reversed; 8 bins of 4 pixels, x = 6 - b: bin 7, half a pixel out, takes the first one's."""
    row = np.arange(8, dtype=np.float32)
    maps = row[None, None, None, :4].repeat(3, axis=1)
    (ours,) = unmirrored((maps,), spec(kind="heatmap", affine="udp", input_wh=(16, 16), skeleton=EYES))
    assert ours[0, 0, 0].tolist() == [3, 2, 1, 0]
    bins = row[None, None].repeat(3, axis=1)
    x, y = unmirrored((bins, bins + 1), spec(kind="simcc", affine="udp", input_wh=(4, 4), skeleton=EYES))
    assert x[0, 0].tolist() == [6, 5, 4, 3, 2, 1, 0, 0]
    assert y[0, 0].tolist() == (row + 1).tolist()
