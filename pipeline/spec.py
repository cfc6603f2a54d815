"""What a pose network wants to see and what it says: one description for teachers and students, checked where it is written."""

import math
from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np

from pipeline.errors import UserError
from pipeline.frames import Convention, Regions, compose, heatmap_from_input, input_from_image, invert
from pipeline.skeletons import SKELETONS, Skeleton, skeleton_named

Kind = Literal["heatmap", "heatmap_logits"]
KINDS: tuple[Kind, ...] = ("heatmap", "heatmap_logits")


SPEC_KEYS = ("skeleton", "input", "color", "mean", "std", "padding", "affine", "kind")
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
    """`heatmap`: the peak is the confidence, negatives mean nothing. `heatmap_logits`: a distribution after a spatial softmax."""

    def input_from_image(self, regions: Regions) -> np.ndarray:
        """Affines (N, 2, 3) of the network's crops of those regions."""
        return input_from_image(regions, self.input_wh, self.padding, self.affine)

    def image_from_target(self, regions: Regions, target_wh: tuple[int, int]) -> np.ndarray:
        """Affines (N, 2, 3) from the network's output pixels back to the picture."""
        target_from_input = heatmap_from_input(self.input_wh, target_wh, self.affine)
        return invert(compose(target_from_input, self.input_from_image(regions)))

    def normalised(self, crops: np.ndarray) -> np.ndarray:
        """Network input float32 (N, 3, H, W) of RGB crops uint8 (N, H, W, 3)."""
        ordered = crops if self.color == "rgb" else crops[..., ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (ordered.astype(np.float32) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def parse_spec(values: dict[str, object], where: str, skeleton: Skeleton | None = None) -> NetworkSpec:
    """The spec of a mapping with the keys of SPEC_KEYS (`input` is height x width); UserError says which value is wrong.

    `skeleton` replaces the one that is named: a student's is no dataset's.
    """
    missing = [key for key in SPEC_KEYS if key not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}: a network's spec has {', '.join(SPEC_KEYS)}")
    size = values["input"]
    if not (
        isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(s, int) and 16 <= s <= 4096 for s in size)
    ):
        raise UserError(f"{where}.input: expected [height, width] in pixels, found {size!r}")
    numbers: dict[str, tuple[float, float, float]] = {}
    for key in ("mean", "std"):
        three = values[key]
        if not (isinstance(three, (list, tuple)) and len(three) == 3 and all(map(_is_number, three))):
            raise UserError(f"{where}.{key}: expected three numbers on the 0-255 scale, found {three!r}")
        numbers[key] = (float(three[0]), float(three[1]), float(three[2]))
    if min(numbers["std"]) <= 0:
        raise UserError(f"{where}.std: expected positive numbers, found {list(numbers['std'])}")
    choices: dict[str, tuple[str, ...]] = {"color": ("rgb", "bgr"), "affine": ("classic", "udp"), "kind": KINDS}
    if skeleton is None:
        choices["skeleton"] = tuple(SKELETONS)
    for key, known in choices.items():
        if values[key] not in known:
            raise UserError(f"{where}.{key}: expected one of {', '.join(known)}, found {values[key]!r}")
    padding = values["padding"]
    if not (_is_number(padding) and 0.5 <= padding <= 4):
        raise UserError(f"{where}.padding: expected a number from 0.5 to 4 (most networks: 1.25), found {padding!r}")
    return NetworkSpec(
        skeleton=skeleton or skeleton_named(str(values["skeleton"])),
        input_wh=(size[1], size[0]),
        color=values["color"],  # type: ignore[arg-type]
        mean=numbers["mean"],
        std=numbers["std"],
        padding=float(padding),
        affine=values["affine"],  # type: ignore[arg-type]
        kind=values["kind"],  # type: ignore[arg-type]
    )


def spec_values(spec: NetworkSpec) -> dict[str, object]:
    """The mapping that `parse_spec` reads."""
    return {
        "skeleton": spec.skeleton.name,
        "input": [spec.input_wh[1], spec.input_wh[0]],
        "color": spec.color,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "padding": spec.padding,
        "affine": spec.affine,
        "kind": spec.kind,
    }


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
