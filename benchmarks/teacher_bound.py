"""Stage one against its teacher: people a second, processor time of everything that is not the teacher, and memory at ten times the data.

    python -m benchmarks.teacher_bound
    python -m benchmarks.teacher_bound --quick
    python -m benchmarks.teacher_bound --device cuda --pictures 1000

Draws people in pictures of COCO's size and exports RTMPose-m and a network of a tenth of its cost, with random weights. Then, turn by turn:

- `pipeline teach` whole (it reads, crops, normalises, judges, quantises, compresses, writes, hashes, and scores what it wrote) against
  a bare loop of `session.run` over the same batches, prepared beforehand;
- `pipeline teach` with a session that answers at once, from memory: its processor time is everything that is not the teacher;
- the same with ten times the pictures, in processes of their own: peak memory.

Writes JSON and a plot to results/benchmarks. Processor time means something on a busy machine too; the rest wants a machine of its own.
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
from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, multiply, params_of, prepared, spec_of
from benchmarks.machine import RESULTS, machine, write
from pipeline.crops import crop
from pipeline.people.pictures import read_picture
from pipeline.teachers import session
from pipeline.teachers.session import Device, Teacher, open_teacher
from stages import teach
from stages.datasets import TRAIN, load_people, load_views
from stages.teach import TeachSettings
from stages.teaching.units import people_at_once

VIEWS = 4
TARGETS = {TEACHERS[0]: 0.95, TEACHERS[1]: 0.80}
TIMES = 10
IMAGES = Path("sample/coco/train")
SMALL_BOUNDARY = 32
"""People written at once while memory is measured, so that few people are many boundaries."""

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--pictures", type=int, default=150, help="about 1.7 people each, four views of every person")
    parser.add_argument("--batch", type=int, default=session.BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="40 pictures, two rounds: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        _print_peak(chosen.batch)
        return
    if chosen.quick:
        chosen.pictures, chosen.rounds = 40, 2
    out = chosen.out.absolute()
    found: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.teacher_bound", *sys.argv[1:]]),
    }
    with empty_folder():
        draw(chosen.pictures)
        export_teachers()
        params = params_of(VIEWS)
        prepared(params)
        found["people"] = int(load_people("coco", TRAIN).use.sum())
        found["views"], found["batch"] = VIEWS, chosen.batch
        found["teachers"] = {name: _bound(params, name, chosen) for name in TEACHERS}
        found["core-ms beside the teacher"] = _beside(params, chosen)
        found["peak memory, MB"] = _memory(chosen)
    print(write("teacher_bound", found, out))
    print(_plot(found, out / "teacher_bound.png"))
    print(json.dumps(found, indent=1))


def _bound(params: dict[str, Any], name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """People a second of the bare loop and of the stage, by turns."""
    opened = open_teacher(name, Path(params["teachers"][name]["onnx"]), spec_of(), chosen.device)
    batches = _batches(opened, chosen.batch)
    people = sum(len(batch) for batch in batches) / VIEWS
    _bare(opened, batches[:2])
    bare, stage, said = [], [], []
    for _ in range(chosen.rounds):
        bare.append(people / _bare(opened, batches))
        seconds, said = _stage(params, name, chosen.device, chosen.batch)
        stage.append(people / seconds)
    return {
        "provider": opened.opened.note,
        "bare loop, people a second": _rounded(bare),
        "stage one, people a second": _rounded(stage),
        "stage one over bare loop": round(statistics.median(s / b for s, b in zip(stage, bare, strict=True)), 3),
        "target": TARGETS[name],
        "said": said[-1],
    }


def _batches(opened: Teacher, batch: int) -> list[np.ndarray]:
    """Everybody's network input, in the batches in which the stage shows them."""
    people = load_people("coco", TRAIN)
    views = load_views("coco", TRAIN, people)
    batches = []
    for boundary in range(0, len(people), TeachSettings.boundary):
        used = np.flatnonzero(people.use[boundary : boundary + TeachSettings.boundary]) + boundary
        at_once = people_at_once(batch, VIEWS)
        for start in range(0, len(used), at_once):
            crops = []
            for row in used[start : start + at_once]:
                picture = read_picture(IMAGES / people.image[row], people.image_wh[row])
                affines = opened.spec.input_from_image(views.regions(int(row), slice(None)))
                crops.append(crop(picture, affines, opened.spec.input_wh))
            batches.append(opened.spec.normalised(np.concatenate(crops)))
    return batches


def _bare(opened: Teacher, batches: list[np.ndarray]) -> float:
    session = opened.opened.session
    name = session.get_inputs()[0].name
    start = time.perf_counter()
    for batch in batches:
        session.run(list(opened.outputs), {name: batch})
    return time.perf_counter() - start


def _stage(params: dict[str, Any], name: str, device: Device, batch: int) -> tuple[float, list[str]]:
    """Seconds of `teach` once the session is open, from the first line it says to the end, and what it said."""
    shutil.rmtree("data/targets", ignore_errors=True)
    said: list[tuple[float, str]] = []
    teach.run(params, name, device, batch, check=False, say=lambda line: said.append((time.perf_counter(), line)))
    return time.perf_counter() - said[0][0], [line for _, line in said]


def _beside(params: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one core a crop, for each kind of output, and those of reading a picture."""
    people = load_people("coco", TRAIN)
    used = np.flatnonzero(people.use)
    images = dict.fromkeys(people.image[used].tolist())
    crops = len(used) * VIEWS
    start = time.process_time()
    for image in images:
        read_picture(IMAGES / image)
    decoding = 1000 * (time.process_time() - start)
    found: dict[str, Any] = {
        "pictures": len(images),
        "crops": crops,
        "a picture, reading": round(decoding / len(images), 2),
    }
    for kind in ANSWERS:
        with answering(params, kind) as (changed, name):
            spent = [_processor_time(changed, name, chosen.batch) for _ in range(max(2, chosen.rounds))]
        best = 1000 * min(seconds for seconds, _ in spent) / crops
        found[kind] = {
            "a crop": round(best, 3),
            "a crop, without reading pictures": round(best - decoding / crops, 3),
            "rounds": _rounded([1000 * seconds / crops for seconds, _ in spent], 3),
            "said": spent[-1][1],
        }
    return found


def _processor_time(params: dict[str, Any], name: str, batch: int) -> tuple[float, str]:
    """Core-seconds of `teach` once the session is open, user and system, and the last thing it said."""
    shutil.rmtree("data/targets", ignore_errors=True)
    said: list[tuple[float, str]] = []
    teach.run(params, name, "cpu", batch, check=False, say=lambda line: said.append((time.process_time(), line)))
    return said[-1][0] - said[0][0], said[-1][1]


def _memory(chosen: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of a process that runs the stage, here and after `multiply`."""
    found = {"1 x the people": _peak_of_process(chosen.batch)}
    multiply(TIMES)
    prepared(params_of(VIEWS))
    found[f"{TIMES} x the people"] = _peak_of_process(chosen.batch)
    return found


def _peak_of_process(batch: int) -> int:
    command = [sys.executable, "-m", "benchmarks.teacher_bound", "--peak", "--batch", str(batch)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _print_peak(batch: int) -> None:
    """Run the stage in the current folder and print this process's peak memory in MB."""
    params = params_of(VIEWS) | {"teach": {"boundary": SMALL_BOUNDARY, "check": 0}}
    with answering(params, "heatmap") as (changed, name):
        _processor_time(changed, name, batch)
    print(_peak_megabytes())


def _peak_megabytes() -> int:
    """Of this process alone: Linux hands the resource usage of the parent on to a new process."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


def _rounded(values: list[float], digits: int = 1) -> list[float]:
    return [round(value, digits) for value in values]


def _plot(found: dict[str, Any], path: Path) -> Path:
    """Shares of the bare loop, processor time beside the teacher, memory."""
    figure, (shares, beside, memory) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for number, each in enumerate(found["teachers"].values()):
        shares.bar(number, each["stage one over bare loop"], color="tab:blue")
        shares.hlines(each["target"], number - 0.4, number + 0.4, color="black", linestyle="dashed")
    shares.set_xticks(range(len(found["teachers"])), found["teachers"])
    shares.set_title("stage one over bare loop (dashed: target)")
    times = found["core-ms beside the teacher"]
    reading = [times[kind]["a crop"] - times[kind]["a crop, without reading pictures"] for kind in ANSWERS]
    beside.bar(ANSWERS, reading, label="reading pictures")
    beside.bar(
        ANSWERS, [times[kind]["a crop, without reading pictures"] for kind in ANSWERS], bottom=reading, label="all else"
    )
    beside.set_title("core-ms a crop beside the teacher")
    beside.legend(loc="lower center")
    memory.bar(list(found["peak memory, MB"]), list(found["peak memory, MB"].values()), color="tab:green")
    memory.set_title("peak memory, MB")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
