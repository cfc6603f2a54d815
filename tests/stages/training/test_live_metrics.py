"""Live metrics never stop a training."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pipeline.common.errors import UserError
from pipeline.pose.options import Logger
from stages.project.project import project_of
from stages.training.live_metrics import LIVE, live_metrics


def test_before_the_first_commit_nothing_is_logged(tmp_path, monkeypatch):
    """After `git init` and `dvc init` Git has no commit, which DVCLive asks for."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    with live_metrics("student-one", []) as log:
        log({"step": 1.0, "total": 2.0})
    assert not LIVE.exists()


class FakeLogger(ModuleType):
    """TensorBoard's writer, W&B and MLflow in one: records what is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[object, ...]] = []
        self.broken = False

    def SummaryWriter(self, folder: str, purge_step: int) -> SimpleNamespace:
        self.calls.append(("open", folder, purge_step))
        close = lambda: self.calls.append(("close",))  # noqa: E731
        return SimpleNamespace(add_scalar=self.add, flush=lambda: None, close=close)

    def add(self, key: str, value: float, step: int) -> None:
        self.log_metrics({key: value}, step)

    def init(self, project: str, name: str, dir: str) -> SimpleNamespace:
        self.calls.append(("open", project, name, dir))
        return SimpleNamespace(log=self.log_metrics, finish=self.end_run)

    def set_experiment(self, name: str) -> None:
        self.calls.append(("experiment", name))

    def start_run(self, run_name: str) -> None:
        self.calls.append(("open", run_name))

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        if self.broken:
            raise ConnectionError("no route to host")
        self.calls.append((step, metrics))

    def end_run(self) -> None:
        self.calls.append(("close",))


MODULES: dict[Logger, str] = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
OPENED: dict[Logger, list[tuple[object, ...]]] = {
    "tensorboard": [("open", "data/live/student/tensorboard", 0)],
    "wandb": [("open", "pose-fusion", "student", "data/live/student")],
    "mlflow": [("experiment", "mine"), ("open", "student")],
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")

    def install(logger: Logger) -> FakeLogger:
        module = FakeLogger(MODULES[logger])
        monkeypatch.setitem(sys.modules, MODULES[logger], module)
        return module

    return install


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_gets_every_point_from_the_first(fake, logger):
    module = fake(logger)
    with live_metrics("student", [{"step": 1.0, "total": 2.0}], [logger]) as log:
        log({"step": 2.0, "total": 1.5})
    assert module.calls == [*OPENED[logger], (1, {"total": 2.0}), (2, {"total": 1.5}), ("close",)]


def test_a_logger_that_fails_stops_no_training(fake, capsys):
    modules = fake("wandb"), fake("mlflow")
    with live_metrics("student", [], ["wandb", "mlflow"]) as log:
        modules[0].broken = True
        log({"step": 1.0, "total": 2.0})
        log({"step": 2.0, "total": 1.0})
    assert modules[1].calls[2:] == [(1, {"total": 2.0}), (2, {"total": 1.0}), ("close",)]
    assert capsys.readouterr().err == "warning: wandb: no route to host: logs no more of this training\n"


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_is_named(monkeypatch, logger):
    monkeypatch.delitem(sys.modules, MODULES[logger], raising=False)
    monkeypatch.setitem(sys.modules, logger, None)
    with pytest.raises(UserError) as error, live_metrics("student", [], [logger]):
        pass
    install = f"{logger} needs {logger}, which is not installed: run `pip install {logger}`"
    assert str(error.value) == f"params.yaml: loggers: {install}"


def test_the_setting():
    assert project_of({}).loggers == ()
    assert project_of({"loggers": ["wandb", "tensorboard", "wandb"]}).loggers == ("wandb", "tensorboard")
    for wrong in ("wandb", ["wandbb"], [1]):
        with pytest.raises(UserError, match="loggers: expected a list of tensorboard, wandb, mlflow, found"):
            _ = project_of({"loggers": wrong}).loggers
