"""Networks by name, students as files: weights in safetensors, everything else readable beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import UserError, one_line
from pipeline.files import write_atomically
from pipeline.networks.pyramid import Pyramid
from pipeline.skeletons import Skeleton
from pipeline.spec import NetworkSpec, parse_spec, spec_values


@dataclass(frozen=True)
class PyramidSettings:
    """The small heatmap network (pipeline.networks.pyramid)."""

    width: int = 32
    depth: int = 1


def build(settings: PyramidSettings, keypoints: int) -> nn.Module:
    """The network with that many output maps, weights from torch's global stream."""
    return Pyramid(keypoints, settings.width, settings.depth)


@dataclass(frozen=True)
class Student:
    """A trained network and what it wants and says."""

    network: nn.Module
    settings: PyramidSettings
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
        settings = PyramidSettings(**document["network"])
        network = build(settings, len(skeleton))
        network.load_state_dict(load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a readable student ({one_line(error)}): run `pipeline distill --student {folder.name}`"
        ) from error
    return Student(network.eval(), settings, spec)
