"""Stage two, `distill`: one student of the unified skeleton from the stores and the labels there are. Arms are settings of it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import replace_folder
from pipeline.networks.build import Student, save_student
from pipeline.networks.run import Device, torch_device
from stages.student_task import task_of
from stages.students import STUDENTS, Arm, arm_named
from stages.training import Task, Trained, training, write_curve


@dataclass(frozen=True)
class Cost:
    """What a training took."""

    steps: int
    seconds: float
    """By the clock."""
    cpu_seconds: float
    """Of all threads, reading and teachers included."""
    passes: int
    """Crops that teachers looked at within it."""
    parameters: int
    """Of the student."""


def run(
    params: dict[str, Any],
    student: str | None = None,
    device: Device = "auto",
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Train one student (the first by default) and write data/students/<name>."""
    name, arm = arm_named(params, student)
    train_arm(params, name, arm, STUDENTS / name, int(params.get("seed", 0)), device, resume, say)


def train_arm(
    params: dict[str, Any],
    name: str,
    arm: Arm,
    place: Path,
    seed: int,
    device: Device = "auto",
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Cost:
    """Train a student and write its weights, settings and curve to the folder `place`; `name` is its checkpoint's."""
    task = task_of(params, name, arm, seed, device)
    before = time.process_time()
    with training(task, torch_device(device), resume, say) as trained:
        if trained.first:
            people = sum(int(source.people.use.sum()) for source in task.sources)
            say(f"student {name}: {trained.steps} steps over {people} people in {trained.seconds:.0f} s")
            _write(trained, task, arm, place)
            say(f"{place}: written")
    looked = trained.steps * task.settings.batch * len(task.online)
    used = time.process_time() - before
    parameters = sum(p.numel() for p in trained.network.parameters())
    return Cost(trained.steps, round(trained.seconds, 1), round(used, 1), looked, parameters)


def _write(trained: Trained, task: Task, arm: Arm, place: Path) -> None:
    aside = place.with_name(place.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    start = task.start and task.start.record
    more = {"arm": vars(arm), "seed": task.seed, "start": start, "seconds": round(trained.seconds, 1)}
    save_student(Student(trained.network, task.network, task.spec), aside, more)
    write_curve(trained.curve, aside / "curve.csv")
    replace_folder(aside, place)
