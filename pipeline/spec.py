"""What a pose network wants to see and what it says: one description for teachers and students, checked where it is written."""

from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np

from pipeline.errors import UserError, shown
from pipeline.frames import Convention, Regions, compose, heatmap_from_input, input_from_image, invert
from pipeline.skeletons import SKELETONS, Skeleton, skeleton_named

Kind = Literal["heatmap", "heatmap_logits", "simcc"]
ARRAYS: dict[Kind, tuple[str, ...]] = {"heatmap": ("heatmaps",), "heatmap_logits": ("heatmaps",), "simcc": ("x", "y")}
"""The kinds of output, and the arrays each consists of: maps (K, H, W), or one row of bins per axis, (K, Wx) and (K, Hy)."""

Precision = Literal["float32", "float16"]
"""What a teacher computes in; `float16` converts a float32 file when it is opened."""

SPEC_KEYS = ("skeleton", "input", "color", "mean", "std", "padding", "affine", "kind")
OPTIONAL_KEYS = ("pixels", "factor", "outputs", "flip")
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""RGB on 0-255: what most published networks, and ours, are trained with."""
PIXELS: dict[str, float] = {"0-255": 1.0, "0-1": 255.0}
SIMCC_FACTOR = 10.0
LARGEST = 1e6
"""Of any number in a spec."""
METADATA_KEY = "pose_fusion."
"""Prefix of the entries under which our ONNX files carry their own `spec` and `keypoints`."""


@dataclass(frozen=True)
class NetworkSpec:
    """A top-down pose network: crop in, one map per keypoint out. `keypoints` are its output channels' names, in order."""

    skeleton: Skeleton
    input_wh: tuple[int, int]
    color: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    """Per channel in the order of `color`, on the 0-255 scale."""
    std: tuple[float, float, float]
    padding: float
    affine: Convention
    kind: Kind
    """`heatmap`: the peak is the confidence, negatives mean nothing. `heatmap_logits`: a distribution after a spatial softmax.
    `simcc`: two distributions over bins, of x and of y, after softmax(factor x score) (Li et al. 2022)."""
    factor: float = SIMCC_FACTOR
    """Of `simcc`; RTMPose is trained with 10."""
    outputs: tuple[str, ...] = ()
    """Names of the ONNX file's outputs that are meant, in the order of ARRAYS; found by their shapes if none is given."""
    flip: bool = False
    """Average with the mirrored crop's output (pipeline.flip)."""

    def input_from_image(self, regions: Regions) -> np.ndarray:
        """Affines (N, 2, 3) of the network's crops of those regions."""
        return input_from_image(regions, self.input_wh, self.padding, self.affine)

    def image_from_target(self, regions: Regions, target_wh: tuple[int, int]) -> np.ndarray:
        """Affines (N, 2, 3) from the network's output pixels, or bins, back to the picture."""
        return invert(compose(self.target_from_input(target_wh), self.input_from_image(regions)))

    def target_from_input(self, target_wh: tuple[int, int]) -> np.ndarray:
        """Affine (2, 3) from input pixels to output pixels, or to bins: bin = pixel x bins per pixel, whatever the crop's affine."""
        return heatmap_from_input(self.input_wh, target_wh, "classic" if self.kind == "simcc" else self.affine)

    def normalised(self, crops: np.ndarray) -> np.ndarray:
        """Network input float32 (N, 3, H, W) of RGB crops uint8 (N, H, W, 3)."""
        ordered = crops if self.color == "rgb" else crops[..., ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (ordered.astype(np.float32) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def parse_spec(values: dict[str, object], where: str, skeleton: Skeleton | None = None) -> NetworkSpec:
    """The spec of a mapping with SPEC_KEYS and some of OPTIONAL_KEYS (`input` is height x width); UserError says what is wrong.

    `pixels` says on which scale mean and std are given, 0-255 if it is absent. `skeleton` replaces the one that is named:
    a student's is no dataset's.
    """
    missing = [key for key in SPEC_KEYS if key not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}: a network's spec has {', '.join(SPEC_KEYS)}")
    size = values["input"]
    if not (
        isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(s, int) and 16 <= s <= 4096 for s in size)
    ):
        raise UserError(f"{where}.input: expected [height, width] in pixels, found {shown(size)}")
    numbers: dict[str, tuple[float, float, float]] = {}
    pixels = str(values.get("pixels", "0-255"))
    if pixels not in PIXELS:
        raise UserError(f"{where}.pixels: expected one of {', '.join(PIXELS)}, found {shown(values['pixels'])}")
    for key in ("mean", "std"):
        three = values[key]
        if not (isinstance(three, (list, tuple)) and len(three) == 3 and all(map(_is_number, three))):
            raise UserError(f"{where}.{key}: expected three numbers on the {pixels} scale, found {shown(three)}")
        first, second, third = (round(float(value) * PIXELS[pixels], 9) for value in three)
        numbers[key] = (first, second, third)
    if min(numbers["std"]) <= 0:
        raise UserError(f"{where}.std: expected positive numbers, found {list(numbers['std'])}")
    choices: dict[str, tuple[str, ...]] = {"color": ("rgb", "bgr"), "affine": ("classic", "udp"), "kind": tuple(ARRAYS)}
    if skeleton is None:
        choices["skeleton"] = tuple(SKELETONS)
    for key, known in choices.items():
        if values[key] not in known:
            raise UserError(f"{where}.{key}: expected one of {', '.join(known)}, found {shown(values[key])}")
    padding = values["padding"]
    if not (_is_number(padding) and 0.5 <= padding <= 4):
        raise UserError(
            f"{where}.padding: expected a number from 0.5 to 4 (most networks: 1.25), found {shown(padding)}"
        )
    factor = values.get("factor", SIMCC_FACTOR)
    if not (_is_number(factor) and factor > 0):
        raise UserError(f"{where}.factor: expected a positive number (RTMPose: 10), found {shown(factor)}")
    outputs, wanted = values.get("outputs", ()), ARRAYS[values["kind"]]  # type: ignore[index]
    if not (
        isinstance(outputs, (list, tuple))
        and len(outputs) in (0, len(wanted))
        and all(isinstance(o, str) for o in outputs)
    ):
        raise UserError(f"{where}.outputs: expected the file's names for {', '.join(wanted)}, found {shown(outputs)}")
    flip = values.get("flip", False)
    if not isinstance(flip, bool):
        raise UserError(f"{where}.flip: expected true or false, found {shown(flip)}")
    return NetworkSpec(
        skeleton=skeleton or skeleton_named(str(values["skeleton"])),
        input_wh=(size[1], size[0]),
        color=values["color"],  # type: ignore[arg-type]
        mean=numbers["mean"],
        std=numbers["std"],
        padding=float(padding),
        affine=values["affine"],  # type: ignore[arg-type]
        kind=values["kind"],  # type: ignore[arg-type]
        factor=float(factor),
        outputs=tuple(outputs),
        flip=flip,
    )


def spec_values(spec: NetworkSpec) -> dict[str, object]:
    """The mapping that `parse_spec` reads, on the 0-255 scale; optional keys only where they say something."""
    optional = {
        "factor": spec.factor if spec.kind == "simcc" else None,
        "outputs": list(spec.outputs) or None,
        "flip": spec.flip or None,
    }
    return {
        "skeleton": spec.skeleton.name,
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
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
