"""What a training and stage one keep of their speed beside other programs that compute: as many busy processes as there are cores.

    python -m benchmarks.neighbours

Draws people, then by turns, on a quiet machine and beside the busy processes: steps of the sample's student with the default number of
threads (`training.threads`) and with one per core, and `pipeline teach` with a small teacher. A share of 0.5 is what a fair scheduler
leaves. Writes JSON to results/benchmarks. Run it on an otherwise idle machine.
"""

import argparse
import contextlib
import json
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, params_of, write_tables
from benchmarks.machine import RESULTS, machine, write
from pipeline.common.threads import cores
from pipeline.training.distributed import Processes
from stages import crops
from stages.distill.inputs import build_inputs
from stages.project.project import project_of
from stages.project.students import StudentConfig
from stages.teach import run as teach
from stages.training.batches import training_batches
from stages.training.inputs import TrainingInputs
from stages.training.run import build_loader, build_trainer

VIEWS = 4
RECIPE = {"steps": 10**6, "batch": 32}


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=80, help="images to draw, about 1.7 people each")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a measurement of the training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    out = options.out.absolute()
    with empty_folder():
        draw(options.draw)
        export_teachers()
        params = params_of(VIEWS) | {"distill": {"width": 32, "input": [128, 96], "training": RECIPE}}
        params["students"] = {"student": {"datasets": ["coco"], "view_count": VIEWS}}
        write_tables(params)
        crops.run(project_of(params), lambda line: None)
        inputs = build_inputs(project_of(params), "student", StudentConfig(["coco"], view_count=VIEWS), 0, "cpu")
        steps, few = _training(inputs), inputs.settings.computing_threads
        measured: dict[str, Callable[[], float]] = {
            f"training, {few} of {cores()} threads": lambda: steps(few, options.seconds),
            f"training, {cores()} threads": lambda: steps(cores(), options.seconds),
            "stage one": lambda: _teach(params),
        }
        result = {
            "machine": machine(),
            "command": " ".join(["python -m benchmarks.neighbours", *sys.argv[1:]]),
            "busy processes": cores(),
            "rates": {name: _by_turns(rate, options.rounds) for name, rate in measured.items()},
        }
    print(write("neighbours", result, out))
    print(json.dumps(result, indent=1))


def _training(inputs: TrainingInputs) -> Callable[[int, float], float]:
    """Return a function from threads and seconds to the steps a second that a training makes."""
    device = torch.device("cpu")
    trainer = build_trainer(inputs, device, Processes(), inputs.settings.length(1))
    loader, _ = build_loader(inputs, Processes())

    def steps(threads: int, seconds: float) -> float:
        torch.set_num_threads(threads)
        batches = training_batches(inputs, loader, 0, inputs.settings.length(1), Processes(), device)
        trainer.step(next(batches))
        start, count = time.perf_counter(), 0
        for batch in batches:
            trainer.step(batch)
            count += 1
            if time.perf_counter() - start > seconds:
                break
        batches.close()  # type: ignore[attr-defined]
        return count / (time.perf_counter() - start)

    return steps


def _teach(params: dict[str, Any]) -> float:
    """Return one over the seconds of stage one over all people, from the moment its session is open."""
    shutil.rmtree("data/targets", ignore_errors=True)
    lines: list[float] = []
    teach.run(project_of(params), TEACHERS[1], "cpu", check=False, log=lambda line: lines.append(time.perf_counter()))
    return 1 / (time.perf_counter() - lines[0])


def _by_turns(rate: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Return the rates on a quiet machine and beside busy processes, and the share of the one that is left of the other."""
    quiet, busy = [], []
    for _ in range(rounds):
        quiet.append(rate())
        with _busy_processes(cores()):
            busy.append(rate())
    share = statistics.median(one / other for one, other in zip(busy, quiet, strict=True))
    return {
        "quiet": [round(each, 3) for each in quiet],
        "busy": [round(each, 3) for each in busy],
        "share": round(share, 2),
    }


@contextlib.contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    """Keep that many processes computing inside the context."""
    processes = [multiprocessing.get_context("spawn").Process(target=_compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    time.sleep(1)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _compute() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
