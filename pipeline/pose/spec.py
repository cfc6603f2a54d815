"""The spec of a pose network, teacher or student: its input, how crops are made for it, and what its output means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np

from pipeline.common.errors import UserError, short_repr
from pipeline.pose.geometry import Convention, Regions, compose, heatmap_from_input, input_from_image, invert
from pipeline.pose.options import Kind
from pipeline.pose.own_skeletons import named_details
from pipeline.pose.skeletons import SKELETONS, Skeleton

ARRAYS: dict[Kind, tuple[str, ...]] = {"heatmap": ("heatmaps",), "heatmap_logits": ("heatmaps",), "simcc": ("x", "y")}
"""The arrays that each kind of output consists of: maps (K, H, W), or one row of bins per axis, (K, Wx) and (K, Hy)."""

SPEC_KEYS = ("skeleton", "input", "color", "mean", "std", "padding", "affine", "kind")
OPTIONAL_KEYS = ("pixels", "factor", "outputs", "flip", "decode", "blur")
"""Keys that a spec must have, and keys that it may have."""
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of RGB on the 0-255 scale, which most published networks, and ours, are trained with."""
PIXELS: dict[str, float] = {"0-255": 1.0, "0-1": 255.0}
"""Scales on which mean and std may be given, and the factors from them to 0-255."""
DARK_BLUR = 11
"""Pixels of the Gaussian blur before DARK, as published for maps of 48 x 64; for those of 72 x 96 it is 17."""
SIMCC_FACTOR = 10.0
"""The factor before the softmax over bins that RTMPose is trained with."""
LARGEST_NUMBER = 1e6
"""Largest absolute value of a number in a spec."""
METADATA_KEY = "pose_fusion."
"""Prefix of the metadata entries in which our ONNX files carry their `spec` and `keypoints`."""


@dataclass(frozen=True)
class NetworkSpec:
    """A top-down pose network: it takes a crop and gives a map per keypoint, in the order of the skeleton's keypoints."""

    skeleton: Skeleton
    input_wh: tuple[int, int]
    color: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    """Mean per channel, in the order of `color` and on the 0-255 scale; `std` likewise."""
    std: tuple[float, float, float]
    padding: float
    """Factor from the size of a box to the size of its crop."""
    affine: Convention
    kind: Kind
    """`heatmap`: the peak is the confidence, negatives mean nothing. `heatmap_logits`: a distribution after a spatial softmax.
    `simcc`: two distributions over bins, of x and of y, after softmax(factor x score) (Li et al. 2022)."""
    factor: float = SIMCC_FACTOR
    """The factor before the softmax of `simcc`; RTMPose is trained with 10."""
    outputs: tuple[str, ...] = ()
    """Names of the ONNX file's outputs in the order of ARRAYS; if empty, they are found by their shapes."""
    flip: bool = False
    """Whether outputs are averaged with those of the mirrored crop (pipeline.pose.flip_averaging)."""
    decode: Literal["standard", "dark"] = "standard"
    """How peaks of `heatmap` are refined: as is standard for its affine, which is a quarter pixel for `classic` and DARK for `udp`; or
    by DARK (Zhang et al. 2020), for networks whose Gaussians were drawn around the keypoints' true places, not around whole pixels."""
    blur: int = DARK_BLUR
    """Pixels of the Gaussian blur before DARK, odd: what the maker of the network tests it with."""

    def input_from_image(self, regions: Regions) -> np.ndarray:
        """Return the affines (N, 2, 3) of the network's crops of N regions."""
        return input_from_image(regions, self.input_wh, self.padding, self.affine)

    def image_from_target(self, regions: Regions, target_wh: tuple[int, int]) -> np.ndarray:
        """Return the affines (N, 2, 3) from the network's output pixels, or bins, to image pixels."""
        return invert(compose(self.target_from_input(target_wh), self.input_from_image(regions)))

    def target_from_input(self, target_wh: tuple[int, int]) -> np.ndarray:
        """Return the affine (2, 3) from input pixels to output pixels, or to bins: bin = pixel x bins per pixel under any convention."""
        return heatmap_from_input(self.input_wh, target_wh, "classic" if self.kind == "simcc" else self.affine)

    def normalised(self, crops: np.ndarray) -> np.ndarray:
        """Return the network input, float32 (N, 3, H, W), of RGB crops uint8 (N, H, W, 3)."""
        ordered = crops if self.color == "rgb" else crops[..., ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (ordered.astype(np.float32) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def parse_spec(
    values: Mapping[str, Any],
    where: str,
    skeleton: Skeleton | None = None,
    skeletons: Mapping[str, Skeleton] = SKELETONS,
) -> NetworkSpec:
    """Return the spec of a mapping with SPEC_KEYS and some of OPTIONAL_KEYS; `input` is height x width.

    `pixels` is the scale on which mean and std are given, 0-255 if absent. `skeletons` are those that can be named; `skeleton`
    replaces the named one, as a file states its own. Raises UserError with what is wrong at which key.
    """
    missing = [key for key in SPEC_KEYS if key not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}: a network's spec has {', '.join(SPEC_KEYS)}")
    given: dict[str, Any] = {"pixels": "0-255", "factor": SIMCC_FACTOR, "outputs": (), "flip": False}
    given |= {"decode": "standard", "blur": DARK_BLUR, **values}

    def check(key: str, correct: bool, expected: str) -> None:
        if not correct:
            raise UserError(f"{where}.{key}: expected {expected}, found {short_repr(given[key])}")

    known = {"color": ("rgb", "bgr"), "affine": ("classic", "udp"), "kind": tuple(ARRAYS), "pixels": tuple(PIXELS)}
    known["decode"] = ("standard", "dark") if given["kind"] == "heatmap" else ("standard",)
    for key, choices in (known | ({"skeleton": tuple(skeletons)} if skeleton is None else {})).items():
        check(key, given[key] in choices, f"one of {', '.join(choices)}")
    check("input", _is_list(given["input"], 2, _is_size), "[height, width] in pixels")
    for key in ("mean", "std"):
        check(key, _is_list(given[key], 3, _is_number), f"three numbers on the {given['pixels']} scale")
    mean, std = ([round(number * PIXELS[given["pixels"]], 9) for number in given[key]] for key in ("mean", "std"))
    check("std", min(std) > 0, "positive numbers")
    padding, factor, names = given["padding"], given["factor"], ARRAYS[given["kind"]]
    check("padding", _is_number(padding) and 0.5 <= padding <= 4, "a number from 0.5 to 4 (most networks: 1.25)")
    check("factor", _is_number(factor) and factor > 0, "a positive number (RTMPose: 10)")
    outputs = given["outputs"]
    is_names = outputs in ([], ()) or (
        _is_list(outputs, len(names), lambda name: isinstance(name, str)) and len(set(outputs)) == len(outputs)
    )
    check("outputs", is_names, f"the file's names for {', '.join(names)}")
    check("flip", isinstance(given["flip"], bool), "true or false")
    is_blur = _is_whole(given["blur"]) and 3 <= given["blur"] <= 51 and given["blur"] % 2 == 1
    check("blur", is_blur, "an odd number of pixels from 3 to 51 (11 for maps of 64 x 48, 17 for 96 x 72)")
    return NetworkSpec(
        skeleton=skeleton or skeletons[given["skeleton"]],
        input_wh=(int(given["input"][1]), int(given["input"][0])),
        color=given["color"],
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        padding=float(padding),
        affine=given["affine"],
        kind=given["kind"],
        factor=float(factor),
        outputs=tuple(outputs),
        flip=given["flip"],
        decode=given["decode"],
        blur=int(given["blur"]),
    )


def spec_values(spec: NetworkSpec) -> dict[str, object]:
    """Return the mapping that `parse_spec` reads, on the 0-255 scale; optional keys only where they differ from the default.

    `skeleton` is a name, with the details that names of keypoints do not tell where there are any (`skeleton_from` reads both).
    """
    optional = {
        "factor": spec.factor if spec.kind == "simcc" else None,
        "outputs": list(spec.outputs) or None,
        "flip": spec.flip or None,
        "decode": spec.decode if spec.decode != "standard" else None,
        "blur": spec.blur if spec.blur != DARK_BLUR else None,
    }
    return {
        "skeleton": named_details(spec.skeleton),
        "input": [spec.input_wh[1], spec.input_wh[0]],
        "color": spec.color,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "padding": spec.padding,
        "affine": spec.affine,
        "kind": spec.kind,
        **{key: value for key, value in optional.items() if value is not None},
    }


def _is_number(value: object) -> TypeGuard[int | float]:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST_NUMBER <= value <= LARGEST_NUMBER
    )


def _is_whole(value: object) -> TypeGuard[int | float]:
    """Return whether it is a whole number, also as a float, which `1e2` is in YAML."""
    return _is_number(value) and value == int(value)


def _is_size(value: object) -> bool:
    return _is_whole(value) and 16 <= value <= 4096


def _is_list(value: object, length: int, is_right: Callable[[object], bool]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == length and all(map(is_right, value))
