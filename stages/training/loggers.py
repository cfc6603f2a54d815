"""TensorBoard, Weights & Biases and MLflow as further places for a training's metrics, where the user has them installed."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.common.errors import UserError, one_line
from pipeline.pose.options import Logger

Point = Mapping[str, float]
"""Metrics by name, with the `step` they belong to."""
EXPERIMENT = "pose-fusion"
"""Project at Weights & Biases, and experiment of MLflow, in which every training is a run, unless their own variables name others."""


@contextmanager
def open_logger(logger: Logger, name: str, folder: Path) -> Iterator[Callable[[Point], None]]:
    """Yield a function that logs a point of the training `name`; local files of TensorBoard and W&B go into `folder`.

    UserError where the package is missing or refuses to start. A failure later on is a line on stderr, and the training goes on without.
    """
    try:
        write, close = OPEN[logger](name, folder)
    except ModuleNotFoundError as error:
        package = (error.name or logger).partition(".")[0]
        raise UserError(
            f"params.yaml: loggers: {logger} needs {package}, which is not installed: run `pip install {package}`"
        ) from error
    except Exception as error:
        raise UserError(
            f"params.yaml: loggers: {logger} does not start: {one_line(error)}: correct it, or leave it out"
        ) from error
    working = True

    def log(point: Point) -> None:
        nonlocal working
        if working:
            try:
                write(int(point["step"]), {key: value for key, value in point.items() if key != "step"})
            except Exception as error:
                working = False
                print(f"warning: {logger}: {one_line(error)}: logs no more of this training", file=sys.stderr)

    try:
        yield log
    finally:
        try:
            close()
        except Exception as error:
            print(f"warning: {logger}: {one_line(error)}: perhaps not all is logged", file=sys.stderr)


Opened = tuple[Callable[[int, Mapping[str, float]], object], Callable[[], object]]
"""A function of a step and its metrics, and one that closes the run."""


def _tensorboard(name: str, folder: Path) -> Opened:
    module: Any = importlib.import_module("torch.utils.tensorboard")
    # A training that starts again, or goes on, logs its points from the first: those of before are hidden.
    writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=0)

    def write(step: int, metrics: Mapping[str, float]) -> None:
        for key, value in metrics.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return write, writer.close


def _wandb(name: str, folder: Path) -> Opened:
    module: Any = importlib.import_module("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    run = module.init(project=os.environ.get("WANDB_PROJECT", EXPERIMENT), name=name, dir=str(folder))
    return lambda step, metrics: run.log(dict(metrics), step=step), run.finish


def _mlflow(name: str, folder: Path) -> Opened:
    module: Any = importlib.import_module("mlflow")
    module.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    module.start_run(run_name=name)
    return lambda step, metrics: module.log_metrics(dict(metrics), step=step), module.end_run


OPEN: dict[Logger, Callable[[str, Path], Opened]] = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
