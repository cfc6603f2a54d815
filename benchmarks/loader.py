"""What the loader of stage two alone delivers: people a second on one core, from the dataset's pictures and from crops.

    python -m benchmarks.loader
    python -m benchmarks.loader --annotations person_keypoints_val2017.json --images val2017

Draws people in pictures of COCO's size (or takes COCO's), lets a teacher that answers at once write maps of 17 x 64 x 48, makes crops, and
then loads batches by turns: decode, crop to 256 x 192, labels, targets. One core, no picture kept from one batch to the next. The
baseline is reading the dataset's pictures. Writes JSON and a plot to results/benchmarks.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import cv2
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.answers import answering
from benchmarks.drawn import draw, empty_folder, params_of, prepared
from benchmarks.machine import RESULTS, machine, write
from pipeline.training.distributed import Processes
from stages import crops, teach, training
from stages.student_task import task_of
from stages.students import Arm
from stages.training_data import Loader

VIEWS = 4
SOURCES = ("files", "crops")


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200, help="about 1.7 people each, four views of every person")
    parser.add_argument("--annotations", type=Path, help="of people in COCO's format, instead of drawn ones")
    parser.add_argument("--images", type=Path, help="their picture folder")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    out = chosen.out.absolute()
    if bool(chosen.annotations) != bool(chosen.images):
        parser.error("--annotations and --images go together")
    real = (chosen.annotations.absolute(), chosen.images.absolute()) if chosen.images else None
    found: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.loader", *sys.argv[1:]]),
        "people in": chosen.images.name if real else "drawn pictures of 560 x 560",
    }
    with empty_folder():
        params = _project(chosen.pictures, real)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        cv2.setNumThreads(1)
        loaders = {pictures: _loader(params, pictures, chosen.batch) for pictures in SOURCES}
        people = loaders["files"].people
        steps = max(1, people // chosen.batch)
        found |= {"people": people, "batch": chosen.batch, "maps": "17 x 64 x 48", "input": "256 x 192"}
        found["crops"] = _crops(params, loaders["crops"])
        speeds: dict[str, list[float]] = {pictures: [] for pictures in SOURCES}
        for turn in range(chosen.rounds):
            for pictures, loader in loaders.items():
                speeds[pictures].append(_speed(loader, turn * steps, steps, chosen.batch))
    found["people a second on one core"] = {
        pictures: {"median": round(statistics.median(each), 1), "rounds": [round(value, 1) for value in each]}
        for pictures, each in speeds.items()
    }
    found["crops over pictures"] = round(
        statistics.median(c / f for f, c in zip(speeds["files"], speeds["crops"], strict=True)), 2
    )
    print(write("loader", found, out))
    print(_plot(found, out / "loader.png"))
    print(json.dumps(found, indent=1))


def _project(pictures: int, real: tuple[Path, Path] | None) -> dict[str, Any]:
    """Parameters of a project folder that is ready for stage two."""
    params = params_of(VIEWS)
    if real:
        annotations, images = real
        train = {"file": annotations.name, "images": str(images)}
        params["datasets"]["coco"] |= {"annotations": str(annotations.parent), "train": train}
    else:
        draw(pictures)
    prepared(params)
    with answering(params, "heatmap") as (changed, name):
        teach.run(changed, name, "cpu", check=False, say=_silently)
    changed["students"] = {"one": {"datasets": ["coco"], "teachers": [name]}}
    changed["distill"] = {
        "network": "rtmpose-s",
        "input": [256, 192],
        "terms": {"truth": 0.5, name: 0.5},
        "pictures": "crops",
        "training": {"steps": 10**6, "picture_memory": 0.01},
    }
    return changed


def _loader(params: dict[str, Any], pictures: str, batch: int) -> Loader:
    if pictures == "crops":
        crops.run(params, _silently)
    distill = params["distill"] | {"pictures": pictures}
    distill["training"] = distill["training"] | {"batch": batch}
    arm = Arm(**params["students"]["one"])
    return training._loader(task_of(params | {"distill": distill}, "one", arm, 0, "cpu"), Processes())[0]


def _crops(params: dict[str, Any], loader: Loader) -> dict[str, float]:
    """What they take, beside the pictures they are from."""
    (source,) = loader.sources
    assert source.crops is not None
    size = sum(file.stat().st_size for file in source.crops.path.rglob("*") if file.is_file())
    names = np.unique(source.people.image[source.people.use]).tolist()
    whole = sum((source.images / name).stat().st_size for name in names)
    return {
        "kB a person": round(size / loader.people / 1000, 2),
        "kB a person, of the pictures": round(whole / loader.people / 1000, 2),
        "pixels of a picture over pixels of a crop": round(
            float(source.people.image_wh[source.people.use].prod(axis=1).mean() / source.pixels), 2
        ),
    }


def _speed(loader: Loader, first: int, steps: int, batch: int) -> float:
    start = time.process_time()
    for step in range(first, first + steps):
        loader.load(step)
        loader._picture.cache_clear()
        loader._decoded.cache_clear()
    return steps * batch / (time.process_time() - start)


def _silently(line: str) -> None:
    """Hears it."""


def _plot(found: dict[str, Any], path: Path) -> Path:
    figure, (speed, size) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    speeds = found["people a second on one core"]
    speed.bar(["the dataset's pictures", "crops"], [speeds[each]["median"] for each in SOURCES], color="tab:blue")
    speed.set_title("loader alone, people a second on one core")
    sizes = found["crops"]
    size.bar(
        ["the dataset's pictures", "crops"],
        [sizes["kB a person, of the pictures"], sizes["kB a person"]],
        color="tab:green",
    )
    size.set_title("kB a person")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
