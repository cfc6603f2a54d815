"""Builds networks by name, and reads and writes trained students: weights as safetensors, all else as JSON beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.common.errors import UserError, one_line
from pipeline.common.files import write_atomically
from pipeline.networks.architectures import refuse_input_size
from pipeline.networks.checkpoint import load_backbone
from pipeline.networks.efficientnet import EfficientNetPose
from pipeline.networks.pyramid import Pyramid
from pipeline.networks.rtmpose import RTMPose
from pipeline.pose.options import DEEPEST, WIDEST, NetworkSettings
from pipeline.pose.own_skeletons import skeleton_from
from pipeline.pose.spec import NetworkSpec, parse_spec, spec_values


def build_network(
    settings: NetworkSettings, spec: NetworkSpec, initial_weights: Path | None = None
) -> Pyramid | EfficientNetPose | RTMPose:
    """Build the network for the spec's keypoints and input; UserError for an input size that it cannot have.

    Weights are drawn from torch's global random stream. `initial_weights` is a published checkpoint, whose backbone replaces that
    of the network, or the folder of a trained student of the same network, whose weights are all used.

    The network's `features` of crops (B, 3, H, W) are (B, `channels`, h, w), and its `outputs` of these features are its output.
    """
    keypoints = len(spec.skeleton)
    if initial_weights is not None and initial_weights.is_dir():
        return _trained_network(initial_weights, settings, spec)
    if settings.network == "pyramid":
        if initial_weights is not None:
            raise ValueError("no checkpoint is published for a pyramid")
        return Pyramid(keypoints, settings.width, settings.depth)
    if settings.network == "efficientnet-lite0":
        lite = EfficientNetPose(keypoints, settings.width)
        if initial_weights is not None:
            load_backbone(lite, initial_weights, settings.network)
        return lite
    refuse_input_size(settings.network, spec.input_wh)
    network = RTMPose(settings.network.removeprefix("rtmpose-"), keypoints, spec.input_wh)
    if initial_weights is not None:
        load_backbone(network, initial_weights, settings.network)
    return network


def _trained_network(
    folder: Path, settings: NetworkSettings, spec: NetworkSpec
) -> Pyramid | EfficientNetPose | RTMPose:
    """Return the network of the student in that folder; UserError where it differs from the settings or the spec."""
    student = load_student(folder)
    expected = (settings, spec.skeleton.keypoints, spec.input_wh)
    trained = (student.settings, student.spec.skeleton.keypoints, student.spec.input_wh)
    for name, ours, theirs in zip(("network", "keypoints", "input (width, height)"), expected, trained, strict=True):
        if ours != theirs:
            raise UserError(
                f"{folder}: expected a student of {name} {ours} to start from, found {theirs}: correct `distill`"
            )
    assert isinstance(student.network, Pyramid | EfficientNetPose | RTMPose)
    return student.network


@dataclass(frozen=True)
class Student:
    """A trained network with the spec of its input and output."""

    network: nn.Module
    settings: NetworkSettings
    spec: NetworkSpec


def save_student(student: Student, folder: Path, more: dict[str, Any]) -> None:
    """Write `student.safetensors` and `student.json`, which holds network, spec, keypoints and `more`, to `folder`."""
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
    """Read a student that `save_student` wrote, in evaluation mode; UserError where its files are absent or inconsistent."""
    description, weights = folder / "student.json", folder / "student.safetensors"
    try:
        document = json.loads(description.read_text())
        skeleton = skeleton_from(document["spec"]["skeleton"], tuple(document["keypoints"]), f"{description}: skeleton")
        spec = parse_spec(document["spec"], str(description), skeleton)
        settings = NetworkSettings(**document["network"])
        if not (0 < settings.width <= WIDEST and 0 < settings.depth <= DEEPEST):
            raise ValueError(f"width {settings.width} and depth {settings.depth}, at most {WIDEST} and {DEEPEST}")
        if spec.kind != settings.output_kind:
            raise ValueError(f"{settings.network} gives {settings.output_kind}, its spec has {spec.kind}")
        network = build_network(settings, spec)
        network.load_state_dict(load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a readable student ({one_line(error)}): run `pipeline distill --student {folder.name}`"
        ) from error
    return Student(network.eval(), settings, spec)
