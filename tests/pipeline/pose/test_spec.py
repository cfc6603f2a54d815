import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.pose.geometry import apply, regions_of_boxes
from pipeline.pose.skeletons import COCO17, Skeleton
from pipeline.pose.spec import NetworkSpec, parse_spec, spec_values
from tests.pipeline.examples import spec

VALUES = {
    "skeleton": "coco17",
    "input": [256, 192],
    "color": "bgr",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57, 57.375],
    "padding": 1.25,
    "affine": "classic",
    "kind": "heatmap",
}


def test_values_of_a_good_spec():
    assert parse_spec(VALUES, "here") == NetworkSpec(
        skeleton=COCO17,
        input_wh=(192, 256),
        color="bgr",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.0, 57.375),
        padding=1.25,
        affine="classic",
        kind="heatmap",
    )


def test_round_trip():
    assert spec_values(parse_spec(VALUES, "here")) == VALUES
    assert parse_spec(spec_values(spec()), "here") == spec()


def test_a_given_skeleton_replaces_the_named_one():
    unified = Skeleton("unified", ("nose", "pelvis"))
    assert parse_spec({**VALUES, "skeleton": "unified"}, "here", unified).skeleton is unified


OPTIONAL = {"pixels": "0-1", "factor": 8, "outputs": ["simcc_x", "simcc_y"], "flip": True}
SIMCC = {**VALUES, "kind": "simcc"}


def test_optional_values():
    parsed = parse_spec({**SIMCC, **OPTIONAL, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "here")
    # MMPose's own numbers on 0-255 are these times 255.
    assert np.allclose(parsed.mean, [123.675, 116.28, 103.53], atol=1e-9)
    assert np.allclose(parsed.std, [58.395, 57.12, 57.375], atol=1e-9)
    assert (parsed.factor, parsed.outputs, parsed.flip) == (8.0, ("simcc_x", "simcc_y"), True)
    plain = parse_spec(SIMCC, "here")
    assert (plain.factor, plain.outputs, plain.flip, plain.decode, plain.blur) == (10.0, (), False, "standard", 11)


def test_numbers_as_yaml_has_them():
    """`1e2` is a float there, and stays out of what is written."""
    parsed = parse_spec({**VALUES, "input": [256.0, 192.0], "mean": [1e2, 1e2, 1e2], "blur": 17.0}, "here")
    assert str(parsed.input_wh) == "(192, 256)" and str(parsed.blur) == "17"
    for values in ({"input": [256.5, 192]}, {"blur": 12}, {"blur": 1}, {"blur": True}):
        with pytest.raises(UserError, match=f"here.{next(iter(values))}: expected"):
            parse_spec({**VALUES, **values}, "here")


def test_dark_is_for_heatmaps():
    for kind in ("simcc", "heatmap_logits"):
        with pytest.raises(UserError, match="decode: expected one of standard, found 'dark'"):
            parse_spec({**VALUES, "kind": kind, "decode": "dark"}, "here")


DARK = {"decode": "dark", "blur": 17}


@pytest.mark.parametrize(
    "values", [SIMCC, {**SIMCC, **OPTIONAL}, {**VALUES, "flip": True, "outputs": ["maps"]}, {**VALUES, **DARK}]
)
def test_round_trip_of_optional_values(values):
    """What is written is on the 0-255 scale, has a factor only for SimCC, and reads back as the same spec."""
    parsed = parse_spec(values, "here")
    written = spec_values(parsed)
    assert parse_spec(written, "there") == parsed
    assert "pixels" not in written
    assert ("factor" in written) == (values["kind"] == "simcc")
    for key in ("flip", "outputs", "decode", "blur"):
        assert (key in written) == (key in values)


def test_both_scales_give_one_spec():
    """Up to the ninth digit that is kept: so a fingerprint does not depend on how the numbers were written."""
    ours = parse_spec({**VALUES, "std": [58.395, 57.12, 57.375]}, "here")
    ratios = {"pixels": "0-1", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert parse_spec({**VALUES, **ratios}, "here") == ours
    assert spec_values(parse_spec({**VALUES, **ratios}, "here")) == spec_values(ours)


NAN, INFINITY = float("nan"), float("inf")
WRONG = {
    "skeleton": ["coco18", None],
    "input": [256, [256], [256, 192, 3], [256, 192.5], ["256", "192"], [8, 192], [256, 5000]],
    "color": ["RGB", ["rgb"]],
    "mean": [120, [120, 115], [120, 115, "100"], [120, 115, NAN], [120, 115, True]],
    "std": [[58, 57], [58, 57, 0], [58, 57, -57], [58, 57, 1e-10], [58, 57, NAN], [58, 57, INFINITY]],
    "padding": ["1.25", 0, 40, True, NAN],
    "affine": ["UDP", None],
    "kind": ["regression"],
    "pixels": ["0-100", 255, None],
    "factor": [0, -10, "10", True, NAN],
    "outputs": ["simcc_x", ["simcc_x"], ["a", "b", "c"], ["a", 1], ["a", "a"]],
    "flip": [1, "yes", None],
}
ENORMOUS = [10**400, 1e300, -(10**400), 1e7]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        *((key, value) for key, values in WRONG.items() for value in values),
        *((key, [number] * 3) for key in ("mean", "std") for number in ENORMOUS),
        *((key, number) for key in ("padding", "factor") for number in ENORMOUS),
    ],
)
def test_wrong_values_are_named(key, wrong):
    with pytest.raises(UserError) as error:
        parse_spec({**SIMCC, key: wrong}, "teachers.tiny")
    assert str(error.value).startswith(f"teachers.tiny.{key}: expected ") and ", found " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_heatmap_file_has_one_output():
    with pytest.raises(UserError, match=r"here\.outputs: expected the file's names for heatmaps, found \['x', 'y'\]"):
        parse_spec({**VALUES, "outputs": ["x", "y"]}, "here")


@pytest.mark.parametrize("key", VALUES)
def test_missing_values_are_named(key):
    with pytest.raises(UserError, match=f"here: missing {key}: "):
        parse_spec({k: v for k, v in VALUES.items() if k != key}, "here")


@pytest.mark.parametrize(("color", "expected"), [("rgb", [0.0, 1.0, 2.0]), ("bgr", [1.0, 1.0, 0.5])])
def test_network_input_follows_color_mean_and_std(color, expected):
    """One pixel of R 120, G 165, B 180 with mean (120, 115, 100) and std (60, 50, 40) in the network's own order."""
    crops = np.array([120, 165, 180], np.uint8).reshape(1, 1, 1, 3)
    normalised = spec(color=color).normalised(crops)
    assert (normalised.shape, normalised.dtype) == ((1, 3, 1, 1), np.float32)
    assert np.allclose(normalised.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize(("convention", "last"), [("udp", [23, 31]), ("classic", [23.75, 31.75])])
def test_image_from_target_is_the_way_back(convention, last):
    """The last input pixel of 96 x 128 is the last of 24 x 32 maps under `udp`, three quarters beyond it under `classic`."""
    regions = regions_of_boxes(np.array([[10.0, 20.0, 50.0, 90.0], [0.0, 0.0, 300.0, 20.0]]))
    network = spec(affine=convention)
    inputs = np.tile([[0.0, 0.0], [95.0, 127.0]], (2, 1, 1))
    image = apply(network.image_from_target(regions, (24, 32)), np.tile([[0.0, 0.0], last], (2, 1, 1)))
    assert np.allclose(apply(network.input_from_image(regions), image), inputs, atol=1e-9)


@pytest.mark.parametrize("convention", ["udp", "classic"])
def test_bins_are_pixels_times_bins_per_pixel(convention):
    """MMPose's SimCC: bin = pixel x 2 under either affine, so input pixel 95 is bin 190 of 192, and bin 191 half a pixel on."""
    network = spec(kind="simcc", affine=convention)
    assert network.target_from_input((192, 256)).tolist() == [[2, 0, 0], [0, 2, 0]]
    regions = regions_of_boxes(np.array([[10.0, 20.0, 50.0, 90.0]]))
    image = apply(network.image_from_target(regions, (192, 256)), np.array([[[190.0, 254.0], [191.0, 0.0]]]))
    assert np.allclose(apply(network.input_from_image(regions), image), [[[95, 127], [95.5, 0]]], atol=1e-9)
