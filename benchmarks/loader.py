"""The loader of stage two alone: people per second on one core, from the dataset's images and from crops.

    python -m benchmarks.loader
    python -m benchmarks.loader --annotations person_keypoints_val2017.json --images val2017

Draws people in images of COCO's size (or takes COCO's), writes maps of 17 x 64 x 48 with a teacher that answers from memory, makes crops,
and then loads batches by turns: decode, crop to 256 x 192, labels, targets. It uses one core and keeps no image between batches. The
baseline reads the dataset's images. Writes JSON and a plot to results/benchmarks.
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
from benchmarks.drawn import draw, empty_folder, params_of, write_tables
from benchmarks.machine import RESULTS, machine, write
from pipeline.training.distributed import Processes
from stages import crops
from stages.distill.inputs import build_inputs
from stages.project.project import project_of
from stages.project.students import StudentConfig
from stages.teach import run as teach
from stages.training import run as training
from stages.training.loader import Loader

VIEWS = 4
SOURCES = ("files", "crops")


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=200, help="images to draw, about 1.7 people each")
    parser.add_argument("--annotations", type=Path, help="people in COCO's format, instead of drawn ones")
    parser.add_argument("--images", type=Path, help="the image folder of --annotations")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    out = options.out.absolute()
    if bool(options.annotations) != bool(options.images):
        parser.error("--annotations and --images go together")
    real = (options.annotations.absolute(), options.images.absolute()) if options.images else None
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.loader", *sys.argv[1:]]),
        "people in": options.images.name if real else "drawn images of 560 x 560",
    }
    with empty_folder():
        params = _project(options.draw, real)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        cv2.setNumThreads(1)
        loaders = {source: _loader(params, source, options.batch) for source in SOURCES}
        people = loaders["files"].people
        steps = max(1, people // options.batch)
        result |= {"people": people, "batch": options.batch, "maps": "17 x 64 x 48", "input": "256 x 192"}
        result["crops"] = _crops(params, loaders["crops"])
        speeds: dict[str, list[float]] = {source: [] for source in SOURCES}
        for turn in range(options.rounds):
            for source, loader in loaders.items():
                speeds[source].append(_speed(loader, turn * steps, steps, options.batch))
    result["people a second on one core"] = {
        source: {"median": round(statistics.median(rates), 1), "rounds": [round(rate, 1) for rate in rates]}
        for source, rates in speeds.items()
    }
    result["crops over images"] = round(
        statistics.median(c / f for f, c in zip(speeds["files"], speeds["crops"], strict=True)), 2
    )
    print(write("loader", result, out))
    print(_plot(result, out / "loader.png"))
    print(json.dumps(result, indent=1))


def _project(count: int, real: tuple[Path, Path] | None) -> dict[str, Any]:
    """Make a project folder that is ready for stage two, with `count` drawn images or with real ones; return its parameters."""
    params = params_of(VIEWS)
    if real:
        annotations, images = real
        train = {"file": annotations.name, "images": str(images)}
        params["datasets"]["coco"] |= {"annotations": str(annotations.parent), "train": train}
    else:
        draw(count)
    write_tables(params)
    with answering(params, "heatmap") as (changed, name):
        teach.run(project_of(changed), name, "cpu", check=False, log=_silently)
    changed["students"] = {"one": {"datasets": ["coco"], "teachers": [name]}}
    changed["distill"] = {
        "network": "rtmpose-s",
        "input": [256, 192],
        "terms": {"truth": 0.5, name: 0.5},
        "images": "crops",
        "training": {"steps": 10**6, "image_memory": 0.01},
    }
    return changed


def _loader(params: dict[str, Any], source: str, batch: int) -> Loader:
    if source == "crops":
        crops.run(project_of(params), _silently)
    distill = params["distill"] | {"images": source}
    distill["training"] = distill["training"] | {"batch": batch}
    student = StudentConfig(**params["students"]["one"])
    return training.build_loader(
        build_inputs(project_of(params | {"distill": distill}), "one", student, 0, "cpu"), Processes()
    )[0]


def _crops(params: dict[str, Any], loader: Loader) -> dict[str, float]:
    """Return the size of crops, beside that of the images they are from."""
    (source,) = loader.sources
    assert source.crops is not None
    size = sum(file.stat().st_size for file in source.crops.path.rglob("*") if file.is_file())
    names = np.unique(source.people.image[source.people.use]).tolist()
    whole = sum((source.images / name).stat().st_size for name in names)
    return {
        "kB a person": round(size / loader.people / 1000, 2),
        "kB a person, of the images": round(whole / loader.people / 1000, 2),
        "pixels of an image over pixels of a crop": round(
            float(source.people.image_wh[source.people.use].prod(axis=1).mean() / source.pixels), 2
        ),
    }


def _speed(loader: Loader, first: int, steps: int, batch: int) -> float:
    start = time.process_time()
    for step in range(first, first + steps):
        loader.load(step)
        loader._image.cache_clear()
        loader._stored_crop.cache_clear()
    return steps * batch / (time.process_time() - start)


def _silently(line: str) -> None:
    """Discard a line of the log."""


def _plot(result: dict[str, Any], path: Path) -> Path:
    figure, (speed, size) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    speeds = result["people a second on one core"]
    speed.bar(["the dataset's images", "crops"], [speeds[each]["median"] for each in SOURCES], color="tab:blue")
    speed.set_title("loader alone, people a second on one core")
    sizes = result["crops"]
    size.bar(
        ["the dataset's images", "crops"],
        [sizes["kB a person, of the images"], sizes["kB a person"]],
        color="tab:green",
    )
    size.set_title("kB a person")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
