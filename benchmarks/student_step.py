"""A step of stage two with tensors in memory, from the stores, and with teachers that run on every crop; and the loader alone.

    python -m benchmarks.student_step --network rtmpose-s --device cpu

Draws people, writes the targets of two RTMPose-m of random weights, then times the steps of `pipeline distill` by turns: reading,
cropping, resampling, augmenting, forward, backward, optimiser. Counts the teachers' forward passes: offline every person in every view
once, online every crop of every step. Writes JSON and a plot to results/benchmarks. Run it on an otherwise idle machine.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.drawn import SIDE, empty_folder
from benchmarks.machine import RESULTS, machine, write
from pipeline.export.onnx_export import export_onnx
from pipeline.networks.architectures import build_architecture, published_spec
from pipeline.networks.run import torch_device
from pipeline.pose.options import Device, Network, TrainingPrecision
from pipeline.pose.skeletons import COCO17, MPII16
from pipeline.pose.spec import spec_values
from pipeline.training.distributed import Processes
from pipeline.training.trainer import Trainer, TrainingBatch
from stages import crops, prepare, sample
from stages.distill.inputs import build_inputs
from stages.project.project import project_of
from stages.project.students import StudentConfig
from stages.teach import run as teach
from stages.training import run as training
from stages.training.batches import training_batches
from stages.training.inputs import TrainingInputs
from stages.training.loader import Loader

TEACHERS = {"coco": (COCO17, (192, 256)), "mpii": (MPII16, (256, 256))}
"""Skeleton and input (width, height) of the paper's teachers."""

VIEWS = 2
MEMORY, STORES, ONLINE = "tensors in memory", "from the stores", "two RTMPose-m online"


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", choices=[name for name in get_args(Network) if name.startswith("rtmpose-")], default="rtmpose-s"
    )
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument(
        "--draw", type=int, default=100, help="images to draw for each of two datasets, about 1.9 people each"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="timed steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--precision", choices=get_args(TrainingPrecision), default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--name", default="student_step", help="name of the files that are written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    out = options.out.absolute()
    with empty_folder():
        params, teaching = _project(options)
        device = torch_device(options.device)
        cached = build_inputs(
            project_of(params), "step", StudentConfig(["coco", "mpii"], list(TEACHERS)), 0, options.device
        )
        online = build_inputs(
            project_of(params), "step", StudentConfig(["coco", "mpii"], list(TEACHERS), "online"), 0, options.device
        )
        trainer = training.build_trainer(cached, device, Processes(), cached.settings.length(1))
        loader, online_loader = (training.build_loader(task, Processes())[0] for task in (cached, online))
        kept = list(_batches(cached, loader, options.steps, device))
        _steps(trainer, iter(kept[:2]))
        memory, cache, run, people, cores = [], [], [], [], []
        for _ in range(options.rounds):
            memory.append(_steps(trainer, iter(kept)) / options.steps)
            cache.append(_steps(trainer, _batches(cached, loader, options.steps, device)) / options.steps)
            run.append(_steps(trainer, _batches(online, online_loader, options.steps, device)) / options.steps)
            wall, busy = _alone(loader, options.steps)
            people.append(options.steps * options.batch / wall)
            cores.append(options.steps * options.batch / busy)
    result = {
        "machine": machine() | {"threads": torch.get_num_threads()},
        "command": " ".join(["python -m benchmarks.student_step", *sys.argv[1:]]),
        "student": f"{options.network}, 256 x 192, batch {options.batch}, {trainer.runtime.description}, {options.workers} workers",
        "seconds a step": {
            MEMORY: [round(each, 4) for each in memory],
            STORES: [round(each, 4) for each in cache],
            ONLINE: [round(each, 4) for each in run],
        },
        "from the stores over in memory": _ratio(cache, memory),
        "online over in memory": _ratio(run, memory),
        "loader alone, people a second": round(statistics.median(people), 1),
        "loader alone, people a second and core": round(statistics.median(cores), 1),
        "teacher passes": _passes(
            loader.people, options.batch, teaching, statistics.median(run) - statistics.median(cache)
        ),
    }
    print(write(options.name, result, out))
    print(_plot(result, out / f"{options.name}.png"))
    print(json.dumps(result, indent=1))


def _passes(people: int, batch: int, teaching: float, saved: float) -> dict[str, Any]:
    """Return the passes of both teachers in stage one and online; `saved`: seconds that a step from the stores is faster."""
    offline, online = people * VIEWS * len(TEACHERS), batch * len(TEACHERS)
    return {
        "offline, people x views x teachers, once": offline,
        "online, batch x teachers, every step": online,
        "online has made as many after, steps": round(offline / online, 1),
        "online has made as many after, rounds over the people": VIEWS,
        "stage one, seconds": round(teaching, 1),
        "stage one has paid after, steps": round(teaching / saved, 1) if saved > 0 else None,
    }


def _project(options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Make a project folder with drawn people, both teachers and their stores; return its parameters, and the seconds of stage one."""
    sample.run(sample.SampleSettings(folder="sample", size=SIDE, train=options.draw, test=1))
    datasets, teachers = {}, {}
    parts = {"coco": ("person_keypoints_train.json", "coco/train"), "mpii": ("mpii_train.json", "mpii/images")}
    for name, (skeleton, input_wh) in TEACHERS.items():
        train = {"file": parts[name][0], "images": f"sample/{parts[name][1]}"}
        score = "ap" if name == "coco" else "pckh"
        datasets[name] = {"format": name, "annotations": f"sample/{name}/annotations", "score": score, "train": train}
        spec = published_spec("rtmpose-m", skeleton, input_wh)
        teachers[name] = {"onnx": f"{name}.onnx", "dataset": name, **spec_values(spec)}
        torch.manual_seed(0)
        noise = np.random.default_rng(0).integers(0, 256, (2, input_wh[1], input_wh[0], 3), dtype=np.uint8)
        export_onnx(build_architecture("rtmpose-m", len(skeleton), input_wh), spec, Path(f"{name}.onnx"), noise)
    params = {
        "seed": 0,
        "datasets": datasets,
        "prepare": {"validation": 0, "views": VIEWS},
        "teachers": teachers,
        "distill": {
            "network": options.network,
            "input": [256, 192],
            "terms": {"truth": 0.3, "coco": 0.25, "mpii": 0.45},
            "min_score": 0.0,
            "images": "crops",
            "training": {
                "steps": 10**6,
                "batch": options.batch,
                "workers": options.workers,
                "image_memory": 0.01,
                "precision": options.precision,
                "compile": options.compile,
            },
        },
    }
    params["students"] = {"step": {"datasets": list(datasets), "teachers": list(teachers)}}
    prepare.run(project_of(params), log=_silently)
    crops.run(project_of(params), _silently)
    start = time.perf_counter()
    for name in TEACHERS:
        teach.run(project_of(params), name, options.device, check=False, log=_silently)
    return params, time.perf_counter() - start


def _batches(task: TrainingInputs, loader: Loader, steps: int, device: torch.device) -> Iterator[TrainingBatch]:
    return training_batches(task, loader, 0, steps, Processes(), device)


def _steps(trainer: Trainer, batches: Iterator[TrainingBatch]) -> float:
    """Return the seconds of all steps, loading included. A step ends with reading its loss, so the device has finished."""
    start = time.perf_counter()
    for batch in batches:
        trainer.step(batch)
    return time.perf_counter() - start


def _alone(loader: Loader, steps: int) -> tuple[float, float]:
    """Return wall time and processor time, in seconds, of loading batches in one thread."""
    wall, busy = time.perf_counter(), time.process_time()
    for _ in loader.stream(0, steps, 1):
        pass
    return time.perf_counter() - wall, time.process_time() - busy


def _silently(line: str) -> None:
    """Discard a line of the log."""


def _ratio(ones: list[float], others: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ones, others, strict=True)), 3)


def _plot(result: dict[str, Any], path: Path) -> Path:
    """Plot the seconds of a step, with one dot per round, and the teachers' passes over the rounds of a training."""
    figure, (steps, passes) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, values in result["seconds a step"].items():
        label = name.replace(" ", "\n", 1)
        steps.bar(label, statistics.median(values), color="tab:gray" if name == MEMORY else "tab:blue")
        steps.scatter([label] * len(values), values, color="black", s=12, zorder=2)
    steps.set_title(f"seconds a step: {result['student']}", fontsize="small")
    once = result["teacher passes"]["offline, people x views x teachers, once"]
    rounds = np.arange(1, 211)
    passes.plot(rounds, np.full(len(rounds), once), label=f"offline, {VIEWS} views")
    passes.plot(rounds, rounds * once / VIEWS, label="online")
    passes.set(xscale="log", yscale="log", xlabel="rounds over the people", title="teachers' forward passes")
    passes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
