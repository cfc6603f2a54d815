"""Stage two, `distill`: trains one student of the unified skeleton from the teachers' stores and the labels, with one seed or several."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.common.documents import json_bytes
from pipeline.common.files import replace_folder, write_atomically
from pipeline.networks.build import Student, save_student
from pipeline.networks.run import torch_device
from pipeline.pose.options import Device
from pipeline.training.distributed import process_info
from stages.distill.inputs import build_inputs
from stages.project.project import Project
from stages.project.students import COST_FILE, SEEDS, STUDENTS, StudentConfig
from stages.students.settings import DistillSettings, recipe, settings_of
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
    seeds: Sequence[int] = (),
) -> None:
    """Train one student (the first by default) and write data/students/<name>.

    With several `seeds`, by default those of the settings, the first one's is that student, and the others' stand in its folder
    SEEDS. Students of other seeds than these are deleted.
    """
    name, config = project.student(student)
    first, *others = dict.fromkeys(seeds or settings_of(project, name, config).seeds or (project.seed,))
    folder = STUDENTS / name
    _bring_back_seeds(folder)
    for seed in others:
        train_once(project, f"{name}-{seed}", config, folder / SEEDS / str(seed), seed, device, resume, log)
    train_student(project, name, config, folder, first, device, resume, log)
    if process_info().is_main:
        (folder / SEEDS).mkdir(exist_ok=True)
        for left in (folder / SEEDS).iterdir():
            if left.name not in map(str, others):
                shutil.rmtree(left)


def train_once(
    project: Project,
    name: str,
    config: StudentConfig,
    folder: Path,
    seed: int,
    device: Device = "auto",
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Train a student and write COST_FILE beside it, or leave it if it has been trained with the same settings, inputs and code."""
    try:
        finished = str(json.loads((folder / COST_FILE).read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        finished = None
    train_student(project, name, config, folder, seed, device, resume, log, finished, with_cost=True)


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
    with_cost: bool = False,
) -> None:
    """Train a student and write its weights, settings and curve to `folder`, `with_cost` COST_FILE too.

    `name` is the name of its checkpoint. Nothing is trained if `finished_fingerprint`, that of the student in the folder, is the
    fingerprint of this training.
    """
    inputs = build_inputs(project, name, config, seed, device)
    if finished_fingerprint == inputs.fingerprint:
        log(f"{folder}: is already trained, with the same settings, inputs and code")
        return
    with training(inputs, torch_device(device), resume, log) as trained:
        if trained.is_main:
            people = sum(int(source.people.use.sum()) for source in inputs.sources)
            log(f"student {name}: {trained.steps} steps over {people} people in {trained.seconds:.0f} s")
            _write(trained, inputs, config, settings_of(project, name, config), folder)
            if with_cost:
                write_atomically(folder / COST_FILE, json_bytes(vars(_cost(trained, inputs))))
            log(f"{folder}: written")


def _cost(trained: TrainedNetwork, inputs: TrainingInputs) -> TrainingCost:
    return TrainingCost(
        steps=trained.steps,
        seconds=round(trained.seconds, 1),
        cpu_seconds=round(trained.cpu_seconds, 1),
        fingerprint=inputs.fingerprint,
        passes=trained.steps * inputs.settings.batch * len(inputs.online),
        parameters=sum(p.numel() for p in trained.network.parameters()),
    )


def _bring_back_seeds(folder: Path) -> None:
    """Move the students of other seeds back to a student's folder from that aside, where a kill in `_write` has left them."""
    left = _aside(folder) / SEEDS
    if left.is_dir() and not (folder / SEEDS).exists():
        with suppress(OSError):  # another process of this training was first
            folder.mkdir(exist_ok=True)
            shutil.move(left, folder / SEEDS)


def _aside(folder: Path) -> Path:
    """Return the folder beside a student's folder that it is written to first."""
    return folder.with_name(folder.name + ".partial")


def _write(
    trained: TrainedNetwork, inputs: TrainingInputs, config: StudentConfig, settings: DistillSettings, folder: Path
) -> None:
    aside = _aside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    start = inputs.initial_weights and inputs.initial_weights.record
    more = {"arm": vars(config), "settings": recipe(settings), "seed": inputs.seed, "start": start}
    more["seconds"] = round(trained.seconds, 1)
    save_student(Student(trained.network, inputs.network, inputs.spec), aside, more)
    write_curve(trained.curve, aside / "curve.csv")
    if (folder / SEEDS).is_dir():
        shutil.move(folder / SEEDS, aside / SEEDS)
    replace_folder(aside, folder)
