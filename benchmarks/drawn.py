"""Makes project folders with drawn people in images of COCO's size, which can be multiplied, and with teachers of a known cost."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.export.onnx_export import export_onnx
from pipeline.networks.architectures import published_spec
from pipeline.networks.cspnext import CSPNeXt
from pipeline.networks.rtmpose import RTMPose
from pipeline.pose.skeletons import COCO17
from pipeline.pose.spec import NetworkSpec, spec_values
from stages import prepare, sample
from stages.project.project import project_of

INPUT_WH = (192, 256)
SIDE = 560
"""Side of an image, which has as many pixels as COCO's 640 x 480."""

TENTH = (0.167, 0.1875)
"""Depth and width of a CSPNeXt whose RTMPose takes a tenth of RTMPose-m's time on a CPU core."""

TEACHERS = ("rtmpose-m", "a-tenth-of-it")


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """Make a new folder the current one inside the context."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def draw(images: int) -> None:
    """Draw `sample/coco` in the current folder."""
    sample.run(sample.SampleSettings(folder="sample", train=images, test=1, size=SIDE))


def multiply(times: int) -> None:
    """Repeat every image of `sample/coco` under more names (hard links), each with its own people."""
    file, folder = Path("sample/coco/annotations/person_keypoints_train.json"), Path("sample/coco/train")
    document = json.loads(file.read_text())
    images, annotations = document["images"], document["annotations"]
    step_image, step_person = 1 + max(each["id"] for each in images), 1 + max(each["id"] for each in annotations)
    more_images, more_annotations = [], []
    for copy in range(times):
        for image in images:
            name = f"{copy:03d}-{image['file_name']}"
            os.link(folder / image["file_name"], folder / name)
            more_images.append(image | {"id": image["id"] + copy * step_image, "file_name": name})
        for each in annotations:
            ids = {"id": each["id"] + copy * step_person, "image_id": each["image_id"] + copy * step_image}
            more_annotations.append(each | ids)
    file.write_text(json.dumps(document | {"images": more_images, "annotations": more_annotations}))


def params_of(views: int) -> dict[str, Any]:
    """Return parameters with the drawn people and TEACHERS, whose files `export_teachers` writes."""
    coco = {
        "format": "coco",
        "annotations": "sample/coco/annotations",
        "score": "ap",
        "train": {"file": "person_keypoints_train.json", "images": "sample/coco/train"},
    }
    entry = {"dataset": "coco", **spec_values(spec_of())}
    return {
        "seed": 0,
        "datasets": {"coco": coco},
        "prepare": {"validation": 0, "views": views},
        "teachers": {name: {"onnx": f"{number}.onnx", **entry} for number, name in enumerate(TEACHERS)},
    }


def write_tables(params: dict[str, Any]) -> None:
    """Write the tables of people and views."""
    prepare.run(project_of(params), log=lambda line: None)


def spec_of() -> NetworkSpec:
    return published_spec("rtmpose-m", COCO17, INPUT_WH)


def export_teachers() -> None:
    """Write the files of TEACHERS, with random weights."""
    noise = np.random.default_rng(0).integers(0, 256, (2, INPUT_WH[1], INPUT_WH[0], 3), dtype=np.uint8)
    torch.manual_seed(0)
    for number, network in enumerate((RTMPose("m", len(COCO17), INPUT_WH), _tenth())):
        export_onnx(network, spec_of(), Path(f"{number}.onnx"), noise)


def _tenth() -> RTMPose:
    network = RTMPose("t", len(COCO17), INPUT_WH)
    network.backbone = CSPNeXt(*TENTH)
    network.head.final_layer = nn.Conv2d(network.backbone.channels, len(COCO17), 7, padding=3)
    return network
