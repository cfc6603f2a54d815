"""`export`: a student as an ONNX file that is a teacher at once, checked against torch on real crops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.crops import crop
from pipeline.networks.build import load_student
from pipeline.networks.export import export_onnx
from pipeline.people.pictures import read_picture, safe_path
from stages.datasets import TRAIN, dataset_settings, load_people, load_views, named
from stages.students import STUDENTS, arm_named

CROPS = 8


def run(
    params: dict[str, Any], student: str | None = None, out: Path | None = None, say: Callable[[str], None] = print
) -> None:
    """Export one student (the first by default) to data/students/<name>.onnx or `out`."""
    name, arm = arm_named(params, student)
    loaded = load_student(STUDENTS / name)
    dataset = arm.datasets[0]
    there = named(dataset_settings(params), dataset)
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    crops = []
    for row in np.flatnonzero(people.use)[:CROPS]:
        picture = read_picture(safe_path(there.images(TRAIN), people.image[row]), people.image_wh[row])
        crops.append(crop(picture, loaded.spec.input_from_image(views.regions(row, slice(0, 1))), loaded.spec.input_wh))
    place = out or STUDENTS / f"{name}.onnx"
    difference = export_onnx(loaded.network, loaded.spec, place, np.concatenate(crops))
    say(
        f"{place}: {len(loaded.spec.skeleton)} keypoints, any batch, ONNX Runtime within {difference:.1e} of torch on {len(crops)} crops"
    )
