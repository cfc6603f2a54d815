"""Proposes the spec of an ONNX file: what the file tells, and what is usual where only its maker knows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pipeline.common.errors import UserError, one_line
from pipeline.inference.devices import open_session
from pipeline.inference.onnx_file import onnx_digest, place_to_open
from pipeline.inference.session import FLOAT_TYPES
from pipeline.pose.skeletons import SKELETONS, Skeleton
from pipeline.pose.spec import IMAGENET_MEAN, IMAGENET_STD, METADATA_KEY, SPEC_KEYS, parse_spec

USUAL: dict[str, object] = {
    "color": "rgb",
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
    "padding": 1.25,
    "affine": "classic",
}
"""What most published top-down networks need. No file tells it."""
FROM_FILE, CARRIED = "the file", "written in the file"
"""Sources of values that are certain."""
USUAL_SIZE = (256, 192)
"""Height and width."""


@dataclass(frozen=True)
class SpecProposal:
    """A proposed spec."""

    values: dict[str, object]
    """Values of the spec by key."""
    source: dict[str, str]
    """Where each value comes from, by key."""

    def is_certain(self, key: str) -> bool:
        """Whether the file itself states the value of a key."""
        return self.source[key] in (FROM_FILE, CARRIED)


def propose_spec(path: Path, skeletons: Mapping[str, Skeleton] = SKELETONS) -> SpecProposal:
    """Return the spec that a file carries, or one from its input, its outputs and what is usual; UserError if it is no teacher.

    `skeletons` are those that it can name.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: name an ONNX file")
    onnx_digest(path)
    try:
        session = open_session(place_to_open(path), "cpu").session
    except Exception as error:
        raise UserError(f"{path}: ONNX Runtime cannot open it: {one_line(error)}: export it again") from error
    carried = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY + "spec")
    if carried is not None:
        return _carried(path, carried, skeletons)
    size, fixed, shapes = _run_once(path, session)
    values: dict[str, object] = {"input": list(size), **USUAL}
    source = dict.fromkeys(USUAL, "usual; the file does not say: ask its maker")
    source["input"] = FROM_FILE if fixed else "usual; the file takes any size: ask its maker"
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    bins = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    if not maps and len(bins) < 2:
        raise UserError(
            f"{path}: expected maps or two rows of bins per keypoint, found {shapes}: it is no top-down network"
        )
    values["kind"] = "heatmap" if maps else "simcc"
    source["kind"] = "the file; heatmap_logits if its maker takes a softmax over the map" if maps else FROM_FILE
    names = list(maps)[:1] or sorted(list(bins)[:2], key=lambda name: name.lower().endswith("y"))
    if len(names) < len(maps or bins) or (bins and not maps and size[0] == size[1]):
        values["outputs"] = names
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in (maps or bins).items())
        source["outputs"] = f"{'the maps' if maps else 'x, then y'}, if its maker says so; it has {listed}"
    count = shapes[names[0]][1]
    known = [skeleton.name for skeleton in skeletons.values() if len(skeleton) == count]
    values["skeleton"] = known[0] if known else f"(none has {count} keypoints)"
    also = f", as {' and '.join(known[1:])} has too" if len(known) > 1 else ""
    source["skeleton"] = f"the file has {count} keypoints{also}; their order is not in it"
    order = [*SPEC_KEYS, *(key for key in values if key not in SPEC_KEYS)]
    return SpecProposal({key: values[key] for key in order}, source)


def _carried(path: Path, carried: str, skeletons: Mapping[str, Skeleton]) -> SpecProposal:
    try:
        inside = dict(json.loads(carried))
        if isinstance(inside["skeleton"], dict):
            inside["skeleton"] = inside["skeleton"]["name"]
        if inside["skeleton"] not in skeletons:
            raise UserError(
                f"{path}: is a student of skeleton {inside['skeleton']}, not a teacher: run `pipeline predict --student {path}`"
            )
        parse_spec(inside, str(path), skeletons=skeletons)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: the spec it carries is not readable: export it again") from error
    return SpecProposal(inside, dict.fromkeys(inside, CARRIED))


def _run_once(path: Path, session: ort.InferenceSession) -> tuple[tuple[int, int], bool, dict[str, tuple[int, ...]]]:
    """Return height and width of the input, whether the file fixes them, and the shapes of the outputs by name."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in FLOAT_TYPES:
        found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise UserError(f"{path}: expected one float input [batch, 3, height, width], found {found}: export it again")
    batch, channels, height, width = (s if isinstance(s, int) else None for s in inputs[0].shape)
    if channels not in (3, None):
        raise UserError(
            f"{path}: expected an input [batch, 3, height, width], found {inputs[0].shape}: export it again"
        )
    size = (height or USUAL_SIZE[0], width or USUAL_SIZE[1])
    shape = (batch or 1, 3, *size)
    names = [output.name for output in session.get_outputs() if output.type.startswith("tensor(")]
    try:
        raw = session.run(names, {inputs[0].name: np.zeros(shape, FLOAT_TYPES[inputs[0].type])})
    except Exception as error:
        raise UserError(f"{path}: fails on crops {list(shape)}: {one_line(error)}: export it again") from error
    shapes = {name: np.shape(array) for name, array in zip(names, raw, strict=True)}
    return size, height is not None and width is not None, shapes
