"""Stage one against its teacher: crops a second through `pipeline teach`, over a bare loop of `session.run` on the same crops, prepared.

    python -m benchmarks.teacher_bound --arch rtmpose-m --device cuda --pictures 1000

Draws people, exports the architecture with random weights, and runs both, turn by turn. Prints JSON. The stage reads pictures,
crops, normalises, quantises, compresses, writes, and scores what it wrote; the bare loop only runs the network.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from pipeline.crops import crop
from pipeline.networks.architectures import ARCHITECTURES, architecture, published_spec
from pipeline.networks.export import export_onnx
from pipeline.people.pictures import read_picture
from pipeline.skeletons import COCO17
from pipeline.spec import spec_values
from pipeline.teachers.session import Device, Teacher, open_teacher
from stages import prepare, sample, teach
from stages.datasets import TRAIN, load_people, load_views
from stages.doctor import cpu, gpus

INPUT_WH = (192, 256)
VIEWS = 4


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="rtmpose-m")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--pictures", type=int, default=40, help="about 1.9 people each, four views of every person")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with _folder():
        params = _project(chosen.arch, chosen.pictures)
        spec = published_spec(chosen.arch, COCO17, INPUT_WH)
        opened = open_teacher("bound", Path("bound.onnx"), spec, chosen.device)
        batches = _prepared(opened, chosen.batch)
        crops = sum(len(batch) for batch in batches)
        _bare(opened, batches[:1])
        bare, stage = [], []
        for _ in range(chosen.rounds):
            bare.append(crops / _bare(opened, batches))
            stage.append(crops / _stage(params, chosen.device, chosen.batch))
    found = {
        "machine": {"cpu": cpu(), "gpus": gpus(), "provider": opened.opened.note},
        "teacher": f"{chosen.arch}, {INPUT_WH[1]} x {INPUT_WH[0]}, random weights, batch {chosen.batch}",
        "crops": crops,
        "bare loop, crops a second": [round(rate, 1) for rate in bare],
        "stage one, crops a second": [round(rate, 1) for rate in stage],
        "stage one over bare loop": round(statistics.median(s / b for s, b in zip(stage, bare, strict=True)), 3),
    }
    print(json.dumps(found, indent=1))


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _project(arch: str, pictures: int) -> dict[str, Any]:
    """A project folder with drawn people, their tables and the teacher's file; its parameters."""
    sample.run(sample.SampleSettings(folder="sample", train=pictures, test=1))
    spec = published_spec(arch, COCO17, INPUT_WH)
    coco = {
        "format": "coco",
        "annotations": "sample/coco/annotations",
        "score": "ap",
        "train": {"file": "person_keypoints_train.json", "images": "sample/coco/train"},
    }
    params = {
        "seed": 0,
        "datasets": {"coco": coco},
        "prepare": {"validation": 0, "views": VIEWS},
        "teachers": {"bound": {"onnx": "bound.onnx", "dataset": "coco", **spec_values(spec)}},
    }
    prepare.run(params, say=lambda line: None)
    torch.manual_seed(0)
    network = architecture(arch, len(COCO17), INPUT_WH)
    noise = np.random.default_rng(0).integers(0, 256, (2, INPUT_WH[1], INPUT_WH[0], 3), dtype=np.uint8)
    export_onnx(network, spec, Path("bound.onnx"), noise)
    return params


def _prepared(opened: Teacher, batch: int) -> list[np.ndarray]:
    """Everybody's network input, in batches."""
    people = load_people("coco", TRAIN)
    views = load_views("coco", TRAIN, people)
    crops = []
    for row in np.flatnonzero(people.use):
        picture = read_picture(Path("sample/coco/train") / people.image[row], people.image_wh[row])
        affines = opened.spec.input_from_image(views.regions(int(row), slice(None)))
        crops.append(crop(picture, affines, opened.spec.input_wh))
    inputs = opened.spec.normalised(np.concatenate(crops))
    return [inputs[start : start + batch] for start in range(0, len(inputs), batch)]


def _bare(opened: Teacher, batches: list[np.ndarray]) -> float:
    session = opened.opened.session
    name = session.get_inputs()[0].name
    start = time.perf_counter()
    for batch in batches:
        session.run(list(opened.outputs), {name: batch})
    return time.perf_counter() - start


def _stage(params: dict[str, Any], device: Device, batch: int) -> float:
    """Seconds of `teach` once the session is open: from the first line it says to the end."""
    shutil.rmtree("data/targets", ignore_errors=True)
    said: list[float] = []
    teach.run(params, "bound", device, batch, check=False, say=lambda line: said.append(time.perf_counter()))
    return time.perf_counter() - said[0]


if __name__ == "__main__":
    main()
