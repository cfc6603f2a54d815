"""`teacher import`: a published checkpoint as a teacher's ONNX file with its spec beside it, checked against torch."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from cache.lock import exclusive
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.frames import Convention
from pipeline.networks.architectures import PADDING, architecture, published_spec
from pipeline.networks.checkpoint import load_into, read_state_dict
from pipeline.networks.export import BATCHES, OUTPUTS, export_onnx
from pipeline.skeletons import skeleton_named
from pipeline.spec import NetworkSpec, parse_spec, spec_values


@dataclass(frozen=True)
class Training:
    """What a checkpoint was trained to see, where that is not what its makers' published ones were; no file says so."""

    color: Literal["rgb", "bgr"] = "rgb"
    padding: float = PADDING
    affine: Convention = "classic"


PUBLISHED = Training()


def run(
    checkpoint: Path,
    arch: str,
    skeleton: str,
    input_hw: tuple[int, int],
    out: Path,
    training: Training = PUBLISHED,
    say: Callable[[str], None] = print,
) -> None:
    """Write `out` and, beside it, its spec as JSON; print what to put into params.yaml. UserError, and no file, where it does not fit."""
    points, input_wh = skeleton_named(skeleton), (input_hw[1], input_hw[0])
    if out.suffix != ".onnx":
        raise UserError(f"--out: expected a file name that ends in .onnx, found {out}")
    network = architecture(arch, len(points), input_wh)
    load_into(
        network,
        read_state_dict(checkpoint),
        checkpoint,
        f"{arch} with the {len(points)} keypoints of {skeleton} and input {input_hw[0]}x{input_hw[1]}",
    )
    published = published_spec(arch, points, input_wh)
    outputs = OUTPUTS["simcc"] if published.kind == "simcc" else ()
    values = spec_values(replace(published, outputs=outputs)) | vars(training)
    spec = parse_spec(values, "teacher import")
    with exclusive(out, passing=True):
        difference = export_onnx(network, spec, out, _crops(input_wh))
        beside = out.with_suffix(".json")
        try:
            write_atomically(beside, (json.dumps(spec_values(spec), indent=1) + "\n").encode())
        except OSError:
            out.unlink(missing_ok=True)
            raise
    say(f"{out}: {len(points)} keypoints, any batch, ONNX Runtime within {difference:.1e} of torch; its spec: {beside}")
    name = skeleton.rstrip("0123456789")
    say("Put this under `teachers:` in params.yaml (name and dataset as you call them there):")
    say(_lines(name, out, spec))
    say(f"Then run `pipeline teacher check --teacher {name}`")


def parse_input(text: str) -> tuple[int, int]:
    """(height, width) of a text like 256x192; UserError for any other."""
    found = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", text)
    if not found:
        raise UserError(f"--input: expected height x width in pixels, like 256x192, found {text!r}")
    return int(found[1]), int(found[2])


def _lines(name: str, onnx: Path, spec: NetworkSpec) -> str:
    entry = {"onnx": str(onnx), "dataset": name, **spec_values(spec)}
    text = yaml.safe_dump({name: entry}, sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True)
    return "\n".join("  " + line for line in text.splitlines())


def _crops(input_wh: tuple[int, int]) -> np.ndarray:
    """Crops of noise uint8 (N, H, W, 3), always the same: there are no pictures to check the export on."""
    return np.random.default_rng(0).integers(0, 256, (max(BATCHES), input_wh[1], input_wh[0], 3), dtype=np.uint8)
