"""Networks by name, students as files: weights in safetensors, everything else readable beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import UserError, one_line
from pipeline.files import write_atomically
from pipeline.networks.architectures import refuse_input
from pipeline.networks.checkpoint import start_from
from pipeline.networks.pyramid import Pyramid
from pipeline.networks.rtmpose import RTMPose
from pipeline.skeletons import Skeleton
from pipeline.spec import Kind, NetworkSpec, parse_spec, spec_values

Network = Literal["pyramid", "rtmpose-t", "rtmpose-s", "rtmpose-m"]
"""The small heatmap network (pipeline.networks.pyramid), and the published ones that fit small machines (pipeline.networks.rtmpose)."""

WIDEST, DEEPEST = 1024, 32
"""Of a pyramid. A description of a few bytes can ask for any size."""


@dataclass(frozen=True)
class NetworkSettings:
    """Which network, and what its size is where its name does not say that."""

    network: Network = "pyramid"
    width: int = 32
    depth: int = 1
    """Of the pyramid."""


def build(settings: NetworkSettings, spec: NetworkSpec, start: Path | None = None) -> Pyramid | RTMPose:
    """The network for the spec's keypoints and input; UserError for an input that it cannot have.

    Weights are from torch's global stream. `start` is a published checkpoint that an RTMPose's backbone is taken from, or the
    folder of a trained student of the same network, whose weights are all taken.
    Its `features` of crops (B, 3, H, W) are (B, `channels`, h, w), its `outputs` of these are what it gives for the crops.
    """
    keypoints = len(spec.skeleton)
    if start is not None and start.is_dir():
        return _continued(start, settings, spec)
    if settings.network == "pyramid":
        if start is not None:
            raise ValueError("no checkpoint is published for a pyramid")
        return Pyramid(keypoints, settings.width, settings.depth)
    refuse_input(settings.network, spec.input_wh)
    network = RTMPose(settings.network.removeprefix("rtmpose-"), keypoints, spec.input_wh)
    if start is not None:
        start_from(network, start, settings.network)
    return network


def _continued(folder: Path, settings: NetworkSettings, spec: NetworkSpec) -> Pyramid | RTMPose:
    """The student's own network; UserError where it is another than the settings ask for."""
    student = load_student(folder)
    asked = (settings, spec.skeleton.keypoints, spec.input_wh)
    found = (student.settings, student.spec.skeleton.keypoints, student.spec.input_wh)
    for what, wanted, there in zip(("network", "keypoints", "input (width, height)"), asked, found, strict=True):
        if wanted != there:
            raise UserError(
                f"{folder}: expected a student of {what} {wanted} to start from, found {there}: mend `distill`"
            )
    assert isinstance(student.network, Pyramid | RTMPose)
    return student.network


def kind_of(settings: NetworkSettings) -> Kind:
    """What the network says."""
    return "heatmap_logits" if settings.network == "pyramid" else "simcc"


@dataclass(frozen=True)
class Student:
    """A trained network and what it wants and says."""

    network: nn.Module
    settings: NetworkSettings
    spec: NetworkSpec


def save_student(student: Student, folder: Path, more: dict[str, Any]) -> None:
    """`student.safetensors` and `student.json` (network, spec, keypoints and `more`) in `folder`."""
    save_file(
        {name: value.contiguous() for name, value in student.network.state_dict().items()},
        folder / "student.safetensors",
    )
    document = {
        "network": vars(student.settings),
        "spec": spec_values(student.spec),
        "keypoints": list(student.spec.skeleton.keypoints),
        **more,
    }
    write_atomically(folder / "student.json", (json.dumps(document, indent=1) + "\n").encode())


def load_student(folder: Path) -> Student:
    """What `save_student` wrote, in evaluation mode; UserError where it is absent or does not fit together."""
    description, weights = folder / "student.json", folder / "student.safetensors"
    try:
        document = json.loads(description.read_text())
        skeleton = Skeleton(document["spec"]["skeleton"], tuple(document["keypoints"]))
        spec = parse_spec(document["spec"], str(description), skeleton)
        settings = NetworkSettings(**document["network"])
        if not (0 < settings.width <= WIDEST and 0 < settings.depth <= DEEPEST):
            raise ValueError(f"width {settings.width} and depth {settings.depth}, at most {WIDEST} and {DEEPEST}")
        if spec.kind != kind_of(settings):
            raise ValueError(f"{settings.network} says {kind_of(settings)}, its spec {spec.kind}")
        network = build(settings, spec)
        network.load_state_dict(load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a readable student ({one_line(error)}): run `pipeline distill --student {folder.name}`"
        ) from error
    return Student(network.eval(), settings, spec)
