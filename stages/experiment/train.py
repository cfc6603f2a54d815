"""Trains an arm of the comparison with each seed. stages.experiment.scoring scores it, so that an edit to a metric trains nothing."""

from collections.abc import Callable

from pipeline.pose.options import Device
from stages.distill.run import train_once
from stages.experiment.arms import load_experiment, run_folder
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
        train_once(project, f"{name}-{number}", arm, run_folder(name, number), number, device, resume, log)
