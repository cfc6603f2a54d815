import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pose.geometry import (
    Regions,
    apply,
    compose,
    diagonal,
    heatmap_from_input,
    input_from_image,
    invert,
    mirror_affine,
    regions_of_boxes,
)
from tests.pipeline.examples import spec

BOX_A = [204.7286498801027, 380.1854785303741, 60.364691561497445, 285.6218451984283]
BOX_B = [169.33057958903026, 331.0810375281767, 134.57575818336517, 173.88623254845666]

# MMPose 1.3.2: box, input (width, height), rotation, TopdownAffine's matrix with and without `use_udp`; padding 1.25.
GOLDEN = [
    (
        BOX_A,
        (192, 256),
        0.0,
        [
            [0.7170319967295407, 0.0, -72.43870014518531],
            [4.839570727103341e-16, 0.7170319150100113, -247.00510946509286],
        ],
        [[0.713297426700592, -0.0, -72.06141662597656], [0.0, 0.7142310738563538, -246.040283203125]],
    ),
    (
        BOX_A,
        (192, 256),
        -30.106967678322327,
        [
            [0.6202973456555186, -0.35967483669163014, 138.39397741029347],
            [0.3596747958318634, 0.6202974682348181, -280.9049064887402],
        ],
        [
            [0.6170668005943298, 0.3578013777732849, -236.58460998535156],
            [-0.35826969146728516, 0.6178744435310364, -111.48463439941406],
        ],
    ),
    (
        BOX_B,
        (256, 256),
        -75.59054188110906,
        [
            [0.2930907649082967, -1.140730858775739, 535.5023518633849],
            [1.1407306934123307, 0.2930904341814817, -264.4368095985254],
        ],
        [
            [0.29194578528404236, 1.136275053024292, -416.5701904296875],
            [-1.136275053024292, 0.29194578528404236, 274.3232727050781],
        ],
    ),
]

FLOAT32 = 5e-4
"""Input pixels. MMPose gets its matrices through float32 points (classic) and entries (udp) of up to 1,000 pixels: one
rounding is 6e-8 x 1,000 = 6e-5, and a handful of them meet in a point."""


def golden_regions(box, rotation):
    regions = regions_of_boxes(np.array([box]))
    return Regions(regions.center, regions.size, np.array([rotation]))


@pytest.mark.parametrize("convention", ["classic", "udp"])
@pytest.mark.parametrize(("box", "wh", "rotation", "classic", "udp"), GOLDEN)
def test_crops_are_mmposes(convention, box, wh, rotation, classic, udp):
    # The two turn in opposite directions for the same number there; ours turn as `classic` does.
    expected = np.array(classic if convention == "classic" else udp)
    ours = input_from_image(
        golden_regions(box, rotation if convention == "classic" else -rotation), wh, 1.25, convention
    )
    x, y, w, h = box
    corners = np.array([[x, y], [x + w, y], [x, y + h], [x + w, y + h]])
    assert np.abs(apply(ours[0], corners) - apply(expected, corners)).max() < FLOAT32


def test_positive_rotation_turns_the_window_clockwise():
    """A quarter turn: the window's top then looks to the right of the image."""
    regions = Regions(np.array([[50.0, 60.0]]), np.array([[20.0, 20.0]]), np.array([90.0]))
    for convention, top in (("classic", (10.0, 0.0)), ("udp", (9.5, 0.0))):
        at = apply(input_from_image(regions, (20, 20), 1.0, convention)[0], np.array([[60.0, 60.0]]))
        assert np.allclose(at, [top], atol=1e-12)


def test_ends_of_a_region_under_both_conventions():
    """A region of 40 x 80, unpadded, in an input of 20 x 40: pixel counts are ratios, or distances between centres are."""
    regions = regions_of_boxes(np.array([[10.0, 20.0, 40.0, 80.0]]))
    corners = np.array([[10.0, 20.0], [50.0, 100.0]])
    assert np.allclose(apply(input_from_image(regions, (20, 40), 1.0, "classic")[0], corners), [[0, 0], [20, 40]])
    assert np.allclose(apply(input_from_image(regions, (20, 40), 1.0, "udp")[0], corners), [[0, 0], [19, 39]])


@pytest.mark.parametrize(("size", "expected"), [((40.0, 20.0), (40.0, 80.0)), ((20.0, 100.0), (50.0, 100.0))])
def test_regions_are_widened_to_the_inputs_aspect(size, expected):
    """`expected`: width and height of the image part that fills an input of 1 : 2."""
    regions = Regions(np.zeros((1, 2)), np.array([size]), np.zeros(1))
    affine = input_from_image(regions, (32, 64), 1.0, "classic")[0]
    assert np.allclose([32 / affine[0, 0], 64 / affine[1, 1]], expected)


def test_heatmap_from_input():
    ends = np.array([[0.0, 0.0], [191.0, 255.0]])
    assert np.allclose(apply(heatmap_from_input((192, 256), (48, 64), "udp"), ends), [[0, 0], [47, 63]])
    assert np.allclose(apply(heatmap_from_input((192, 256), (48, 64), "classic"), ends), [[0, 0], [47.75, 63.75]])


numbers = st.floats(-500, 500)
spans = st.floats(5, 800)


@st.composite
def affines(draw):
    """A crop under either convention."""
    regions = Regions(
        np.array([[draw(numbers), draw(numbers)]]), np.array([[draw(spans), draw(spans)]]), np.array([draw(numbers)])
    )
    wh = (draw(st.integers(16, 400)), draw(st.integers(16, 400)))
    return input_from_image(regions, wh, draw(st.floats(0.5, 2)), draw(st.sampled_from(["classic", "udp"])))[0]


# Entries reach 80 x 500 pixels, each step rounds at 2e-16 relative and inverting magnifies by up to the same 80.
ROUNDING = 1e-8


@given(affines(), st.tuples(numbers, numbers))
def test_inverse_gives_points_back(affine, point):
    points = np.array([point])
    assert np.allclose(apply(invert(affine), apply(affine, points)), points, rtol=0, atol=ROUNDING)


@given(affines(), affines(), affines(), st.tuples(numbers, numbers))
def test_composition(d_from_c, c_from_b, b_from_a, point):
    points = np.array([point])
    left = compose(compose(d_from_c, c_from_b), b_from_a)
    right = compose(d_from_c, compose(c_from_b, b_from_a))
    stepwise = apply(d_from_c, apply(c_from_b, apply(b_from_a, points)))
    for affine in (left, right):
        assert np.allclose(apply(affine, points), stepwise, rtol=1e-11, atol=ROUNDING)


def test_many_affines_at_once():
    several = np.stack([mirror_affine(10), mirror_affine(20), mirror_affine(30)])
    points = np.array([[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]])
    assert apply(several, points).tolist() == [[[8.0, 2.0]], [[18.0, 2.0]], [[28.0, 2.0]]]
    assert np.array_equal(compose(several, invert(several)), np.tile(np.eye(3)[:2], (3, 1, 1)))


@given(st.integers(1, 2000))
def test_mirror_swaps_the_ends_and_is_its_own_inverse(width):
    assert apply(mirror_affine(width), np.array([[0.0, 5.0], [width - 1.0, 6.0]])).tolist() == [[width - 1, 5], [0, 6]]
    assert np.array_equal(compose(mirror_affine(width), mirror_affine(width)), np.eye(3)[:2])


@given(numbers, numbers, spans, spans, st.floats(-180, 180))
def test_frames_of_one_region_are_diagonal_to_each_other(x, y, width, height, rotation):
    """Whatever the padding, aspect and convention; the mirror changes a sign."""
    regions = Regions(np.array([[x, y]]), np.array([[width, height]]), np.array([rotation]))
    one = spec(input_wh=(192, 256), padding=1.0, affine="classic")
    other = spec(input_wh=(256, 256), padding=1.5, affine="udp")
    other_from_one = compose(other.input_from_image(regions), invert(one.input_from_image(regions)))
    (scale,), _ = diagonal(other_from_one)
    assert (scale > 0).all()
    (flipped,), _ = diagonal(compose(mirror_affine(256), other_from_one))
    assert np.allclose(flipped, scale * [-1, 1], rtol=1e-12)


def test_diagonal_values():
    affine = np.array([[[2.0, 0.0, 3.0], [0.0, -4.0, 5.0]]])
    scale, shift = diagonal(affine)
    assert (scale.tolist(), shift.tolist()) == ([[2.0, -4.0]], [[3.0, 5.0]])


@pytest.mark.parametrize("degrees", [1e-3, -30.0, 90.0])
def test_rotated_frames_are_refused(degrees):
    one, other = (
        input_from_image(Regions(np.zeros((1, 2)), np.ones((1, 2)), np.array([r])), (32, 32), 1.0, "udp")
        for r in (10.0, 10.0 + degrees)
    )
    with pytest.raises(ValueError, match="rotated against each other"):
        diagonal(compose(other, invert(one)))
