"""A project whose images show keypoints as colours, so that scores are known: its parameters, boxes and untrained students."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks.build import Student, build_network
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, union
from stages.project.project import project_of
from tests.colours import colour_params
from tests.pipeline.examples import spec

PICTURES, PEOPLE = 8, 2


def with_test_part(**changes: Any) -> dict[str, Any]:
    """The colour teacher, two untrained students, and the same images to train on and to be tested on."""
    part = {"file": "train.json", "images": "pictures"}
    detected = {**part, "detections": "boxes.json"}
    students = {"students": {"one": {"datasets": ["coco"]}}, "baselines": {"two": {"datasets": ["coco"]}}}
    return colour_params(datasets__coco__test=detected, evaluate={"resamples": 40}, **students, **changes)


def write_boxes(folder: Path, images: int) -> None:
    """The annotated boxes of the first so many images, each once more one pixel to the right; scores fall by image."""
    people = json.loads((folder / "annotations/train.json").read_text())["annotations"]
    boxes = [
        {
            "image_id": p["image_id"],
            "category_id": 1,
            "bbox": [p["bbox"][0] + shift, *p["bbox"][1:]],
            "score": 0.9 - 0.1 * p["image_id"] - shift / 100,
        }
        for p in people
        if p["image_id"] < images
        for shift in (0, 1)
    ]
    boxes.append({"image_id": 12345, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1})
    boxes.append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 0, 9], "score": 1})
    (folder / "annotations/boxes.json").write_text(json.dumps(boxes))


def tiny_student(seed: int) -> Student:
    settings = NetworkSettings(width=8, depth=1)
    torch.manual_seed(seed)
    skeleton = union([COCO17, MPII16])
    wanted = spec(skeleton=skeleton, input_wh=(32, 64))
    return Student(build_network(settings, wanted).eval(), settings, wanted)


def printed(function: Any, *arguments: Any, **changes: Any) -> str:
    lines: list[str] = []
    function(project_of(with_test_part()), *arguments, log=lines.append, **changes)
    return "\n".join(lines)


def refusal(function: Any, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        printed(function, *arguments, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)
