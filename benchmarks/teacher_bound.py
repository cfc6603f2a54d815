"""Stage one compared with its teacher: people per second, processor time of all but the teacher, and memory at ten times the data.

    python -m benchmarks.teacher_bound
    python -m benchmarks.teacher_bound --quick
    python -m benchmarks.teacher_bound --device cuda --draw 1000

Draws people in images of COCO's size and exports RTMPose-m and a network of a tenth of its cost, with random weights. Then, by turns:

- the whole `pipeline teach` (it reads, crops, normalises, checks, quantises, compresses, writes, hashes, and scores its targets), compared
  with a bare loop of `session.run` over the same batches, which are prepared beforehand;
- `pipeline teach` with a session that answers from memory: its processor time is that of all but the teacher;
- the same with ten times the images, each in its own process: peak memory.

Writes JSON and a plot to results/benchmarks. Processor time is meaningful on a busy machine too; the rest needs an idle machine.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.answers import ANSWERS, answering
from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, multiply, params_of, spec_of, write_tables
from benchmarks.machine import RESULTS, machine, write
from pipeline.inference import session
from pipeline.inference.session import Teacher, open_teacher
from pipeline.people.images import read_image
from pipeline.pose.crops import crop
from pipeline.pose.options import Device
from stages.project.datasets import TRAIN, load_people, load_views
from stages.project.project import project_of
from stages.teach import run as teach
from stages.teach.run import TeachSettings
from stages.teach.shards import people_per_batch

VIEWS = 4
TARGETS = {TEACHERS[0]: 0.95, TEACHERS[1]: 0.80}
TIMES = 10
IMAGES = Path("sample/coco/train")
PEOPLE_PER_SHARD = 32
"""People per shard while memory is measured, so that few people make many shards."""

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--draw", type=int, default=150, help="images to draw, about 1.7 people each")
    parser.add_argument("--batch", type=int, default=session.DEFAULT_BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="40 images, two rounds: to try it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        _print_peak(options.batch)
        return
    if options.quick:
        options.draw, options.rounds = 40, 2
    out = options.out.absolute()
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.teacher_bound", *sys.argv[1:]]),
    }
    with empty_folder():
        draw(options.draw)
        export_teachers()
        params = params_of(VIEWS)
        write_tables(params)
        result["people"] = int(load_people("coco", TRAIN).use.sum())
        result["views"], result["batch"] = VIEWS, options.batch
        result["teachers"] = {name: _bound(params, name, options) for name in TEACHERS}
        result["core-ms beside the teacher"] = _beside(params, options)
        result["peak memory, MB"] = _memory(options)
    print(write("teacher_bound", result, out))
    print(_plot(result, out / "teacher_bound.png"))
    print(json.dumps(result, indent=1))


def _bound(params: dict[str, Any], name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the people per second of the bare loop and of the stage, by turns."""
    teacher = open_teacher(name, Path(params["teachers"][name]["onnx"]), spec_of(), options.device)
    batches = _batches(teacher, options.batch)
    people = sum(len(batch) for batch in batches) / VIEWS
    _bare(teacher, batches[:2])
    bare, stage, lines = [], [], []
    for _ in range(options.rounds):
        bare.append(people / _bare(teacher, batches))
        seconds, lines = _stage(params, name, options.device, options.batch)
        stage.append(people / seconds)
    return {
        "provider": teacher.runtime.note,
        "bare loop, people a second": _rounded(bare),
        "stage one, people a second": _rounded(stage),
        "stage one over bare loop": round(statistics.median(s / b for s, b in zip(stage, bare, strict=True)), 3),
        "target": TARGETS[name],
        "last line": lines[-1],
    }


def _batches(teacher: Teacher, batch: int) -> list[np.ndarray]:
    """Return the network inputs of all people, in the batches of the stage."""
    people = load_people("coco", TRAIN)
    views = load_views("coco", TRAIN, people)
    batches = []
    for first in range(0, len(people), TeachSettings.shard):
        used = np.flatnonzero(people.use[first : first + TeachSettings.shard]) + first
        count = people_per_batch(batch, VIEWS)
        for start in range(0, len(used), count):
            crops = []
            for row in used[start : start + count]:
                image = read_image(IMAGES / people.image[row], people.image_wh[row])
                affines = teacher.spec.input_from_image(views.regions(int(row), slice(None)))
                crops.append(crop(image, affines, teacher.spec.input_wh))
            batches.append(teacher.spec.normalised(np.concatenate(crops)))
    return batches


def _bare(teacher: Teacher, batches: list[np.ndarray]) -> float:
    """Return the seconds of the bare loop."""
    session = teacher.runtime.session
    name = session.get_inputs()[0].name
    start = time.perf_counter()
    for batch in batches:
        session.run(list(teacher.outputs), {name: batch})
    return time.perf_counter() - start


def _stage(params: dict[str, Any], name: str, device: Device, batch: int) -> tuple[float, list[str]]:
    """Return the seconds of `teach` from its first line, after which the session is open, to the end; and its lines."""
    shutil.rmtree("data/targets", ignore_errors=True)
    lines: list[tuple[float, str]] = []
    teach.run(
        project_of(params), name, device, batch, check=False, log=lambda line: lines.append((time.perf_counter(), line))
    )
    return time.perf_counter() - lines[0][0], [line for _, line in lines]


def _beside(params: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the core-milliseconds per crop, for each kind of output, and those of reading an image."""
    people = load_people("coco", TRAIN)
    used = np.flatnonzero(people.use)
    images = dict.fromkeys(people.image[used].tolist())
    crops = len(used) * VIEWS
    start = time.process_time()
    for image in images:
        read_image(IMAGES / image)
    decoding = 1000 * (time.process_time() - start)
    result: dict[str, Any] = {
        "images": len(images),
        "crops": crops,
        "a image, reading": round(decoding / len(images), 2),
    }
    for kind in ANSWERS:
        with answering(params, kind) as (changed, name):
            spent = [_processor_time(changed, name, options.batch) for _ in range(max(2, options.rounds))]
        best = 1000 * min(seconds for seconds, _ in spent) / crops
        result[kind] = {
            "a crop": round(best, 3),
            "a crop, without reading images": round(best - decoding / crops, 3),
            "rounds": _rounded([1000 * seconds / crops for seconds, _ in spent], 3),
            "last line": spent[-1][1],
        }
    return result


def _processor_time(params: dict[str, Any], name: str, batch: int) -> tuple[float, str]:
    """Return the core-seconds of `teach` after the session is open, user and system; and its last line."""
    shutil.rmtree("data/targets", ignore_errors=True)
    lines: list[tuple[float, str]] = []
    teach.run(
        project_of(params), name, "cpu", batch, check=False, log=lambda line: lines.append((time.process_time(), line))
    )
    return lines[-1][0] - lines[0][0], lines[-1][1]


def _memory(options: argparse.Namespace) -> dict[str, Any]:
    """Return the peak resident memory of a process that runs the stage, before and after `multiply`."""
    result = {"1 x the people": _peak_of_process(options.batch)}
    multiply(TIMES)
    write_tables(params_of(VIEWS))
    result[f"{TIMES} x the people"] = _peak_of_process(options.batch)
    return result


def _peak_of_process(batch: int) -> int:
    command = [sys.executable, "-m", "benchmarks.teacher_bound", "--peak", "--batch", str(batch)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _print_peak(batch: int) -> None:
    """Run the stage in the current folder and print this process's peak memory in MB."""
    params = params_of(VIEWS) | {"teach": {"shard": PEOPLE_PER_SHARD, "check": 0}}
    with answering(params, "heatmap") as (changed, name):
        _processor_time(changed, name, batch)
    print(_peak_megabytes())


def _peak_megabytes() -> int:
    """Return the peak memory of this process in MB. On Linux, getrusage would include the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


def _rounded(values: list[float], digits: int = 1) -> list[float]:
    return [round(value, digits) for value in values]


def _plot(result: dict[str, Any], path: Path) -> Path:
    """Plot the share of the bare loop, the processor time beside the teacher, and memory."""
    figure, (shares, beside, memory) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for number, each in enumerate(result["teachers"].values()):
        shares.bar(number, each["stage one over bare loop"], color="tab:blue")
        shares.hlines(each["target"], number - 0.4, number + 0.4, color="black", linestyle="dashed")
    shares.set_xticks(range(len(result["teachers"])), result["teachers"])
    shares.set_title("stage one over bare loop (dashed: target)")
    times = result["core-ms beside the teacher"]
    reading = [times[kind]["a crop"] - times[kind]["a crop, without reading images"] for kind in ANSWERS]
    beside.bar(ANSWERS, reading, label="reading images")
    beside.bar(
        ANSWERS, [times[kind]["a crop, without reading images"] for kind in ANSWERS], bottom=reading, label="all else"
    )
    beside.set_title("core-ms a crop beside the teacher")
    beside.legend(loc="lower center")
    memory.bar(list(result["peak memory, MB"]), list(result["peak memory, MB"].values()), color="tab:green")
    memory.set_title("peak memory, MB")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
