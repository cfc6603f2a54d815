"""A step of stage two on tensors in memory, from the stores, and with teachers run on every crop; and the loader alone.

    python -m benchmarks.student_step --network rtmpose-s --device cpu

Draws people, lets two RTMPose-m of random weights teach them, then times the steps that `pipeline distill` takes, turn by turn:
reading, cropping, resampling, augmenting, forward, backward, optimiser. Counts the teachers' forward passes: offline every person in every
view once, online every crop of every step. Writes JSON and a plot to results/benchmarks. Run it on a machine that does nothing else.
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
from pipeline.networks.architectures import architecture, published_spec
from pipeline.networks.build import Network
from pipeline.networks.export import export_onnx
from pipeline.networks.run import Device, torch_device
from pipeline.skeletons import COCO17, MPII16
from pipeline.spec import spec_values
from pipeline.training.distributed import Processes
from pipeline.training.trainer import Trainer, TrainingBatch
from stages import crops, prepare, sample, teach, training
from stages.student_task import task_of
from stages.students import Arm
from stages.training_data import Loader

TEACHERS = {"coco": (COCO17, (192, 256)), "mpii": (MPII16, (256, 256))}
"""The paper's: skeleton and input, width first."""

VIEWS = 2
MEMORY, STORES, ONLINE = "tensors in memory", "from the stores", "two RTMPose-m online"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", choices=[name for name in get_args(Network) if name != "pyramid"], default="rtmpose-s"
    )
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--pictures", type=int, default=100, help="of each of two datasets, about 1.9 people each")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="timed a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    out = chosen.out.absolute()
    with empty_folder():
        params, teaching = _project(chosen)
        device = torch_device(chosen.device)
        cached = task_of(params, "step", Arm(["coco", "mpii"], list(TEACHERS)), 0, chosen.device)
        online = task_of(params, "step", Arm(["coco", "mpii"], list(TEACHERS), "online"), 0, chosen.device)
        trainer = training._trainer(cached, device, Processes(), cached.settings.length(1))
        loader, online_loader = (training._loader(task, Processes())[0] for task in (cached, online))
        kept = list(_batches(cached, loader, chosen.steps, device))
        _steps(trainer, iter(kept[:2]))
        memory, cache, run, people, cores = [], [], [], [], []
        for _ in range(chosen.rounds):
            memory.append(_steps(trainer, iter(kept)) / chosen.steps)
            cache.append(_steps(trainer, _batches(cached, loader, chosen.steps, device)) / chosen.steps)
            run.append(_steps(trainer, _batches(online, online_loader, chosen.steps, device)) / chosen.steps)
            wall, busy = _alone(loader, chosen.steps)
            people.append(chosen.steps * chosen.batch / wall)
            cores.append(chosen.steps * chosen.batch / busy)
    found = {
        "machine": machine() | {"threads": torch.get_num_threads()},
        "command": " ".join(["python -m benchmarks.student_step", *sys.argv[1:]]),
        "student": f"{chosen.network}, 256 x 192, batch {chosen.batch}, {training._manner(trainer)}, {chosen.workers} workers",
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
            loader.people, chosen.batch, teaching, statistics.median(run) - statistics.median(cache)
        ),
    }
    print(write("student_step", found, out))
    print(_plot(found, out / "student_step.png"))
    print(json.dumps(found, indent=1))


def _passes(people: int, batch: int, teaching: float, saved: float) -> dict[str, Any]:
    """Of both teachers: what stage one takes once and for all, and what a step takes online; `saved` are seconds a step."""
    offline, online = people * VIEWS * len(TEACHERS), batch * len(TEACHERS)
    return {
        "offline, people x views x teachers, once": offline,
        "online, batch x teachers, every step": online,
        "online has made as many after, steps": round(offline / online, 1),
        "online has made as many after, rounds over the people": VIEWS,
        "stage one, seconds": round(teaching, 1),
        "stage one has paid after, steps": round(teaching / saved, 1) if saved > 0 else None,
    }


def _project(chosen: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """A project folder with drawn people, both teachers' files and their stores: its parameters, and the seconds the stores took."""
    sample.run(sample.SampleSettings(folder="sample", size=SIDE, train=chosen.pictures, test=1))
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
        export_onnx(architecture("rtmpose-m", len(skeleton), input_wh), spec, Path(f"{name}.onnx"), noise)
    params = {
        "seed": 0,
        "datasets": datasets,
        "prepare": {"validation": 0, "views": VIEWS},
        "teachers": teachers,
        "distill": {
            "network": chosen.network,
            "input": [256, 192],
            "terms": {"truth": 0.3, "coco": 0.25, "mpii": 0.45},
            "score_floor": 0.0,
            "pictures": "crops",
            "training": {"steps": 10**6, "batch": chosen.batch, "workers": chosen.workers, "picture_memory": 0.01},
        },
    }
    params["students"] = {"step": {"datasets": list(datasets), "teachers": list(teachers)}}
    prepare.run(params, say=_silently)
    crops.run(params, _silently)
    start = time.perf_counter()
    for name in TEACHERS:
        teach.run(params, name, chosen.device, check=False, say=_silently)
    return params, time.perf_counter() - start


def _batches(task: training.Task, loader: Loader, steps: int, device: torch.device) -> Iterator[TrainingBatch]:
    return training.batches(task, loader, 0, steps, Processes(), device)


def _steps(trainer: Trainer, batches: Iterator[TrainingBatch]) -> float:
    """Seconds of a step on each, to get them included; a step ends by reading its loss, so the device has finished."""
    start = time.perf_counter()
    for batch in batches:
        trainer.step(batch)
    return time.perf_counter() - start


def _alone(loader: Loader, steps: int) -> tuple[float, float]:
    """Seconds on the clock, and of all cores together, to load so many batches in one thread."""
    wall, busy = time.perf_counter(), time.process_time()
    for _ in loader.stream(0, steps, 1):
        pass
    return time.perf_counter() - wall, time.process_time() - busy


def _silently(line: str) -> None:
    """What the stages say is not measured."""


def _ratio(ones: list[float], others: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ones, others, strict=True)), 3)


def _plot(found: dict[str, Any], path: Path) -> Path:
    """Seconds of a step, one dot a round, and the teachers' passes over the rounds of a training."""
    figure, (steps, passes) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, values in found["seconds a step"].items():
        label = name.replace(" ", "\n", 1)
        steps.bar(label, statistics.median(values), color="tab:gray" if name == MEMORY else "tab:blue")
        steps.scatter([label] * len(values), values, color="black", s=12, zorder=2)
    steps.set_title(f"seconds a step: {found['student']}", fontsize="small")
    once = found["teacher passes"]["offline, people x views x teachers, once"]
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
