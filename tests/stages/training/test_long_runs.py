"""Long runs: killed, stopped by a scheduler, started twice, started by torchrun, with live metrics."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive
from pipeline.training.trainer import Trainer
from stages.distill import run as distill
from stages.project.project import project_of
from stages.project.students import COST_FILE
from stages.students import training_settings
from stages.students.training_settings import TrainingSettings
from stages.teach import run as teach
from tests.closure import ROOT
from tests.fixtures import tree
from tests.stages.training.tiny_student import student_params

STUDENT = Path("data/students/both")
CHECKPOINT = Path("data/checkpoints/student-both.pt")
LIVE = Path("data/live/student-both")


def parameters(**changes: Any) -> dict[str, Any]:
    """Return the parameters of a tiny student that saves a checkpoint after every step."""
    return student_params(**{"checkpoint_seconds": 0, **changes})


def run(values: dict[str, Any] | None = None) -> list[str]:
    """Run `distill` and return its messages."""
    lines: list[str] = []
    distill.run(project_of(values or parameters()), None, "cpu", log=lines.append)
    return lines


def signalled(number: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the signal to the next run, in the middle of that step."""
    plain, taken = Trainer.step, itertools.count(1)

    def stepped(self: Trainer, batch: Any) -> dict[str, float]:
        if next(taken) == step:
            os.kill(os.getpid(), number)
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", stepped)


def in_another_process(code: str, *launcher: str) -> subprocess.CompletedProcess[str]:
    """Run the code in this folder with this checkout's modules, on one thread each."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    Path("run.py").write_text(code)
    command = [sys.executable, *launcher, "run.py"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


KILLED = """
import itertools, os, signal
from pipeline.training.trainer import Trainer
from stages.distill import run as distill
from stages.project.project import project_of
from tests.stages.training.test_long_runs import parameters

plain, taken = Trainer.step, itertools.count(1)

def step(self, batch):
    terms = plain(self, batch)
    if next(taken) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return terms

Trainer.step = step
distill.run(project_of(parameters()), None, "cpu", log=lambda line: None)
"""


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(taught):
    run()
    undisturbed = tree(STUDENT)
    finished = in_another_process(KILLED)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    assert CHECKPOINT.is_file()
    assert run()[0] == f"resuming from {CHECKPOINT}, step 3"
    resumed = tree(STUDENT)
    assert [resumed[name] for name in ("student.safetensors", "curve.csv")] == [
        undisturbed[name] for name in ("student.safetensors", "curve.csv")
    ]


def test_sigterm_saves_a_checkpoint(taught, monkeypatch):
    with monkeypatch.context() as patch:
        signalled(signal.SIGTERM, 4, patch)
        with pytest.raises(SystemExit) as stopped:
            run(parameters(checkpoint_seconds=1000))
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert run()[0] == f"resuming from {CHECKPOINT}, step 4"


def test_the_cost_of_a_resumed_training_includes_the_interrupted_run(taught, monkeypatch):
    with monkeypatch.context() as patch:
        signalled(signal.SIGTERM, 4, patch)
        with pytest.raises(SystemExit):
            run()
    state = torch.load(CHECKPOINT, weights_only=True)
    assert 0 < state["cpu_seconds"] < 1000
    torch.save({**state, "cpu_seconds": 1000.0}, CHECKPOINT)
    project = project_of(parameters())
    distill.train_student(project, *project.student(None), STUDENT, 0, "cpu", log=lambda line: None, with_cost=True)
    assert 1000 < json.loads((STUDENT / COST_FILE).read_text())["cpu_seconds"] < 2000


def test_two_trainings_of_one_name_do_not_share_a_checkpoint(taught):
    with exclusive(CHECKPOINT), pytest.raises(UserError) as error:
        run()
    assert str(error.value).startswith(f"{CHECKPOINT} is being written by process {os.getpid()} on ")
    assert run()[-1] == f"{STUDENT}: written"


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_behind(taught, monkeypatch):
    def full(state: Any, stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device", str(CHECKPOINT))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run()
    assert [path.name for path in CHECKPOINT.parent.iterdir()] == [f"{CHECKPOINT.name}.lock"]


def test_speed_and_memory_may_change_over_an_interruption(taught, monkeypatch):
    with monkeypatch.context() as patch:
        signalled(signal.SIGINT, 3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    changed = parameters(workers=2, image_memory=1, checkpoint_seconds=7)
    assert run(changed)[0] == f"resuming from {CHECKPOINT}, step 3"


DISTRIBUTED = """
from stages.distill import run as distill
from stages.project.project import project_of
from tests.stages.training.test_long_runs import parameters

distill.run(project_of(parameters()), None, "cpu")
"""


@pytest.mark.long
def test_torchrun_trains_one_student(taught):
    finished = in_another_process(DISTRIBUTED, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    assert finished.returncode == 0, finished.stderr
    first, second, third = finished.stdout.splitlines()
    assert first == "training student-both on cpu with 1 thread, float32, 2 processes"
    assert second.startswith("student both: 6 steps over 40 people in ")
    assert third == f"{STUDENT}: written"
    assert not CHECKPOINT.exists()
    curve = [line.split(",") for line in (STUDENT / "curve.csv").read_text().splitlines()]
    run()
    alone = [line.split(",") for line in (STUDENT / "curve.csv").read_text().splitlines()]
    assert curve[0] == alone[0] == ["step", "total", "truth", "tiny"]
    # The people and views are the same, but each norm sees half of the people, and colours are drawn per process.
    assert [float(value) for value in curve[1]] == pytest.approx([float(value) for value in alone[1]], rel=0.05)


def test_live_metrics_of_a_run(taught):
    """They are written in a DVC project only, and its own files stay as they are."""
    run()
    assert not LIVE.exists()
    dvc = [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"]
    subprocess.run(dvc, check=True, capture_output=True, timeout=120)
    before = sorted(path.name for path in Path().iterdir())
    run()
    assert sorted(path.name for path in Path().iterdir()) == before
    header, *rows = [line.split("\t") for line in (LIVE / "plots/metrics/truth.tsv").read_text().splitlines()]
    curve = [line.split(",") for line in (STUDENT / "curve.csv").read_text().splitlines()]
    assert header == ["step", "truth"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [float(row[1]) for row in rows] == pytest.approx([float(row[2]) for row in curve[1:]], rel=1e-5)
    shown = sorted(path.stem for path in (LIVE / "plots/metrics").iterdir())
    assert shown == ["learning_rate", "people_per_second", "tiny", "total", "truth"]
    latest = json.loads((LIVE / "metrics.json").read_text())
    assert (latest["step"], latest["truth"]) == (6, float(rows[-1][1]))
    # OneCycleLR's last step, as in tests/pipeline/training/test_trainer.py.
    assert latest["learning_rate"] == pytest.approx(0.01 / 25 / 1e4)


@pytest.mark.long
def test_a_compiled_network_learns_the_same_and_keeps_its_names(taught):
    """The first losses, before any update, differ by the rounding of fused kernels alone."""
    run(parameters(steps=2))
    plain, curve = load_file(STUDENT / "student.safetensors"), (STUDENT / "curve.csv").read_text().splitlines()
    assert run(parameters(steps=2, compile=True))[0] == "training student-both on cpu with 1 thread, float32, compiled"
    assert load_file(STUDENT / "student.safetensors").keys() == plain.keys()
    again = (STUDENT / "curve.csv").read_text().splitlines()
    assert [float(v) for v in again[1].split(",")] == pytest.approx([float(v) for v in curve[1].split(",")], rel=1e-4)


def test_the_threads_that_compute(taught):
    before = torch.get_num_threads()
    assert run(parameters(steps=2, threads=2))[0] == "training student-both on cpu with 2 threads, float32"
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_by_default_half_of_the_cores_compute(monkeypatch, cores, threads):
    monkeypatch.setattr(training_settings, "cores", lambda: cores)
    assert TrainingSettings().computing_threads == threads
    assert TrainingSettings(threads=3).computing_threads == 3


def test_lengths_in_steps_and_in_epochs():
    assert TrainingSettings().length(50) == 1000
    assert TrainingSettings(steps=7).length(50) == 7
    assert TrainingSettings(epochs=3, batch=16).length(50) == 10
    # 420 rounds over COCO's 149,813 people and MPII's 22,246 of the training parts, 1024 at a time
    assert TrainingSettings(epochs=420, batch=1024).length(149_813 + 22_246) == 70_572


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, r"distill.training: .*expected either `steps` or `epochs`, found both"),
        ({"warm_up_steps": 6}, r"training.warm_up_steps: expected fewer than the 6 steps of the training, found 6"),
        ({"schedule": "cosine"}, r"distill.training.schedule: "),
        ({"precision": "float16"}, r"training.precision: float16 needs a GPU"),
    ],
)
def test_impossible_recipes_are_refused(project, changes, message):
    with pytest.raises(UserError, match=message):
        run({**parameters(**changes), "students": {"both": {"datasets": ["coco"]}}})


@pytest.mark.parametrize("weighting", ["confidence", "adaptive"])
def test_weightings_without_teachers_change_nothing(project, weighting):
    values = parameters(steps=2)
    values["distill"]["weights"] = weighting
    values["students"] = {"both": {"datasets": ["coco"]}}
    assert run(values)[-1] == f"{STUDENT}: written"
    assert (STUDENT / "curve.csv").read_text().splitlines()[0] == "step,total,truth"


@pytest.mark.parametrize("weighting", ["confidence", "adaptive"])
def test_weightings_and_rtmposes_recipe_over_an_interruption(taught, monkeypatch, weighting):
    """The weights that the mixture learns are part of the checkpoint too."""
    values = parameters(
        steps=5,
        schedule="flat-cosine",
        warm_up_steps=2,
        clip=None,
        average=0.9,
        average_warm_up=3,
        checkpoint_seconds=99,
    )
    values["distill"]["weights"] = weighting
    run(values)
    undisturbed = tree(STUDENT)
    with monkeypatch.context() as patch:
        signalled(signal.SIGINT, 3, patch)
        with pytest.raises(KeyboardInterrupt):
            run(values)
    assert run(values)[0] == f"resuming from {CHECKPOINT}, step 3"
    assert tree(STUDENT)["student.safetensors"] == undisturbed["student.safetensors"]
    header = (STUDENT / "curve.csv").read_text().splitlines()[0]
    assert header == "step,total,truth,tiny" + (",mixture" if weighting == "adaptive" else "")


def test_the_loss_uses_the_weights_of_a_preset(taught):
    """`reference-code` at the start: 1.3 truth and 0.5 for COCO's teacher."""
    values = yaml.safe_load(yaml.safe_dump(parameters(steps=2)).replace("tiny", "coco"))
    values["teachers"]["coco"]["onnx"] = "tiny.onnx"
    del values["distill"]["terms"]
    values["distill"]["preset"] = "reference-code"
    teach.run(project_of(values), "coco", "cpu", log=lambda line: None)
    run(values)
    first = [float(value) for value in (STUDENT / "curve.csv").read_text().splitlines()[1].split(",")[1:]]
    assert first[0] == pytest.approx(1.3 * first[1] + 0.5 * first[2], rel=1e-5)
    values["distill"]["preset"] = "published"
    with pytest.raises(UserError, match=r"distill.preset: "):
        run(values)
    with pytest.raises(
        UserError, match=r"distill.preset: preset `paper` weights the teachers coco and mpii, found tiny"
    ):
        run({**parameters(), "distill": {**parameters()["distill"], "preset": "paper"}})
