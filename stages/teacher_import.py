"""`teacher import`: converts a published checkpoint to a teacher's ONNX file, compares it with torch, and writes its spec beside it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.export.onnx_export import OUTPUT_NAMES, TESTED_BATCHES, export_onnx
from pipeline.networks.architectures import PUBLISHED_PADDING, build_architecture, published_spec
from pipeline.networks.checkpoint import load_into
from pipeline.networks.checkpoint_reader import read_state_dict
from pipeline.pose.geometry import Convention
from pipeline.pose.skeletons import skeleton_named
from pipeline.pose.spec import NetworkSpec, parse_spec, spec_values
from stages.project.project import known_skeletons
from stages.project.yaml_files import yaml_text


@dataclass(frozen=True)
class InputSettings:
    """The input that a checkpoint was trained with, which no checkpoint file states. The defaults are those of MMPose's checkpoints."""

    color: Literal["rgb", "bgr"] = "rgb"
    padding: float = PUBLISHED_PADDING
    affine: Convention = "classic"


PUBLISHED_INPUT = InputSettings()


def run(
    checkpoint: Path,
    arch: str,
    skeleton: str,
    input_hw: tuple[int, int],
    out: Path,
    input_settings: InputSettings = PUBLISHED_INPUT,
    log: Callable[[str], None] = print,
) -> None:
    """Write `out` and its spec as JSON beside it, and print the entry for params.yaml.

    UserError, and no file, where the checkpoint does not fit the architecture `arch` with that skeleton and input.
    """
    skeletons = known_skeletons()
    keypoints, input_wh = skeleton_named(skeleton, skeletons), (input_hw[1], input_hw[0])
    if out.suffix != ".onnx":
        raise UserError(f"--out: expected a file name that ends in .onnx, found {out}")
    network = build_architecture(arch, len(keypoints), input_wh)
    load_into(
        network,
        read_state_dict(checkpoint),
        checkpoint,
        f"{arch} with the {len(keypoints)} keypoints of {skeleton} and input {input_hw[0]}x{input_hw[1]}",
    )
    published = published_spec(arch, keypoints, input_wh)
    outputs = OUTPUT_NAMES["simcc"] if published.kind == "simcc" else ()
    values = spec_values(replace(published, outputs=outputs)) | vars(input_settings)
    spec = parse_spec(values, "teacher import", keypoints)
    with exclusive(out, remove_lock_file=True):
        difference = export_onnx(network, spec, out, _crops(input_wh))
        spec_file = out.with_suffix(".json")
        try:
            write_atomically(spec_file, (json.dumps(spec_values(spec), indent=1) + "\n").encode())
        except OSError:
            out.unlink(missing_ok=True)
            raise
    log(
        f"{out}: {len(keypoints)} keypoints, any batch, ONNX Runtime within {difference:.1e} of torch; its spec: {spec_file}"
    )
    name = skeleton.rstrip("0123456789")
    log("Put this under `teachers:` in params.yaml (with your own names of the teacher and of its dataset):")
    log(_entry(name, out, spec))
    log(f"Then run `pipeline teacher check --teacher {name}`")


def parse_input(text: str) -> tuple[int, int]:
    """Return (height, width) of a text like 256x192; UserError for any other text."""
    match = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", text)
    if not match:
        raise UserError(f"--input: expected height x width in pixels, like 256x192, found {text!r}")
    return int(match[1]), int(match[2])


def _entry(name: str, onnx: Path, spec: NetworkSpec) -> str:
    entry = {"onnx": str(onnx), "dataset": name, **spec_values(spec), "skeleton": spec.skeleton.name}
    text = yaml_text({name: entry})
    return "\n".join("  " + line for line in text.splitlines())


def _crops(input_wh: tuple[int, int]) -> np.ndarray:
    """Return crops of noise, uint8 (N, H, W, 3), always the same, because there are no images to check the export on."""
    return np.random.default_rng(0).integers(0, 256, (max(TESTED_BATCHES), input_wh[1], input_wh[0], 3), dtype=np.uint8)
