"""Trains an arm of the comparison with each seed. stages.experiment.score scores it, so that an edit to a metric trains nothing."""

import json
from collections.abc import Callable
from pathlib import Path

from pipeline.common.documents import json_bytes
from pipeline.common.files import write_atomically
from pipeline.pose.options import Device
from stages.distill.run import train_student
from stages.experiment.arms import COST_FILE, load_experiment, run_folder
from stages.project.project import Project


def run(
    project: Project,
    name: str,
    seed: int | None = None,
    device: Device = "auto",
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Train the arm with the seed, or with each of its seeds in arms.yaml, and write data/experiment/students/NAME/SEED.

    A student that has been trained with the same settings, inputs and code is left as it is.
    """
    experiment = load_experiment()
    arm = experiment.arm(name)
    for number in experiment.seeds_of(name) if seed is None else (seed,):
        folder = run_folder(name, number)
        finished = _finished_fingerprint(folder)
        cost = train_student(project, f"{name}-{number}", arm, folder, number, device, resume, log, finished)
        if cost is not None:
            write_atomically(folder / COST_FILE, json_bytes(vars(cost)))


def _finished_fingerprint(folder: Path) -> str | None:
    """Return the fingerprint of the training that wrote a folder, or None where there is none."""
    try:
        return str(json.loads((folder / COST_FILE).read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
