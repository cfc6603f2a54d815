"""Stage two, `distill`: trains one student of the unified skeleton from the teachers' stores and the labels."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.common.files import replace_folder
from pipeline.networks.build import Student, save_student
from pipeline.networks.run import torch_device
from pipeline.pose.options import Device
from stages.distill.inputs import build_inputs
from stages.project.project import Project
from stages.project.students import STUDENTS, StudentConfig
from stages.training.inputs import TrainingInputs
from stages.training.run import TrainedNetwork, training, write_curve


@dataclass(frozen=True)
class TrainingCost:
    """The cost of a training."""

    steps: int
    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """CPU time of all threads, reading and teachers included, and that of interrupted runs."""
    fingerprint: str
    """Fingerprint of the training's inputs."""
    passes: int
    """Number of crops that teachers were run on during the training."""
    parameters: int
    """Number of the student's parameters."""


def run(
    project: Project,
    student: str | None = None,
    device: Device = "auto",
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Train one student (the first by default) and write data/students/<name>."""
    name, config = project.student(student)
    train_student(project, name, config, STUDENTS / name, project.seed, device, resume, log)


def train_student(
    project: Project,
    name: str,
    config: StudentConfig,
    folder: Path,
    seed: int,
    device: Device = "auto",
    resume: bool = False,
    log: Callable[[str], None] = print,
    finished_fingerprint: str | None = None,
) -> TrainingCost | None:
    """Train a student and write its weights, settings and curve to `folder`; `name` is the name of its checkpoint.

    Nothing is trained, and None is returned, if `finished_fingerprint`, that of the student in the folder, is the fingerprint of
    this training.
    """
    inputs = build_inputs(project, name, config, seed, device)
    if finished_fingerprint == inputs.fingerprint:
        log(f"{folder}: is already trained, with the same settings, inputs and code")
        return None
    with training(inputs, torch_device(device), resume, log) as trained:
        if trained.is_main:
            people = sum(int(source.people.use.sum()) for source in inputs.sources)
            log(f"student {name}: {trained.steps} steps over {people} people in {trained.seconds:.0f} s")
            _write(trained, inputs, config, folder)
            log(f"{folder}: written")
    return TrainingCost(
        steps=trained.steps,
        seconds=round(trained.seconds, 1),
        cpu_seconds=round(trained.cpu_seconds, 1),
        fingerprint=inputs.fingerprint,
        passes=trained.steps * inputs.settings.batch * len(inputs.online),
        parameters=sum(p.numel() for p in trained.network.parameters()),
    )


def _write(trained: TrainedNetwork, inputs: TrainingInputs, config: StudentConfig, folder: Path) -> None:
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    start = inputs.initial_weights and inputs.initial_weights.record
    more = {"arm": vars(config), "seed": inputs.seed, "start": start, "seconds": round(trained.seconds, 1)}
    save_student(Student(trained.network, inputs.network, inputs.spec), aside, more)
    write_curve(trained.curve, aside / "curve.csv")
    replace_folder(aside, folder)
