"""`distill` and `fit` over an interruption: the checkpoint, what is refused, what starts anew, and the bytes at the end."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks.build import load_student
from pipeline.training.trainer import Trainer
from stages import distill, prepare, teach
from tests.fixtures import params, tree

STEPS = 6
CHECKPOINT = Path("data/checkpoints/student-both.pt")


def with_student(**changes: Any) -> dict[str, Any]:
    """Parameters with two arms of a tiny student."""
    changed = params(
        distill={
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "score_floor": 0.0,
            "training": {"steps": STEPS, "batch": 4, "precision": "float32", **changes},
        },
        students={"both": {"datasets": ["coco"], "teachers": ["tiny"]}},
        baselines={"alone": {"datasets": ["coco"], "views": "fresh"}},
    )
    return changed


def run(**changes: Any) -> list[str]:
    """What `pipeline distill` says."""
    lines: list[str] = []
    distill.run(with_student(**changes), None, "cpu", say=lines.append)
    return lines


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the next run, in the middle of that step."""
    plain, taken = Trainer.step, itertools.count(1)

    def step(self, batch):
        if next(taken) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", step)


@pytest.fixture
def taught(project):
    torch.set_num_threads(1)
    teach.run(params(), "tiny", "cpu", say=lambda line: None)
    return project


def test_an_interrupted_run_ends_with_the_bytes_of_an_undisturbed_one(taught, monkeypatch):
    run()
    undisturbed = tree(Path("data/students/both"))
    with monkeypatch.context() as patch:
        interrupt_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert CHECKPOINT.is_file()
    lines = run()
    assert lines[0] == f"going on from {CHECKPOINT}, step 4"
    again = tree(Path("data/students/both"))
    assert again["student.safetensors"] == undisturbed["student.safetensors"]
    assert again["curve.csv"] == undisturbed["curve.csv"]
    assert not CHECKPOINT.exists()


def test_a_checkpoint_of_other_settings_is_left_alone_unless_asked_for(taught, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    lines = run(flip=0.0)
    assert lines[0].startswith(f"{CHECKPOINT} is of other settings, inputs or code: training starts anew")
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    with pytest.raises(UserError, match=r"--resume cannot change network and steps"):
        distill.run(with_student(steps=9), None, "cpu", resume=True, say=lambda line: None)
    said: list[str] = []
    distill.run(with_student(flip=0.0), None, "cpu", resume=True, say=said.append)
    assert said[0] == f"going on from {CHECKPOINT}, step 3"


def test_a_curve_point_over_an_interruption_is_whole(taught, monkeypatch):
    run(steps=200)
    whole = Path("data/students/both/curve.csv").read_text()
    with monkeypatch.context() as patch:
        interrupt_after(101, patch)
        with pytest.raises(KeyboardInterrupt):
            run(steps=200)
    run(steps=200)
    assert Path("data/students/both/curve.csv").read_text() == whole


def test_a_damaged_checkpoint_is_kept_aside(taught, monkeypatch):
    CHECKPOINT.parent.mkdir(parents=True)
    CHECKPOINT.write_bytes(b"no checkpoint")
    lines = run()
    assert lines[0].startswith(f"{CHECKPOINT} is not readable")
    assert CHECKPOINT.with_suffix(".unreadable").read_bytes() == b"no checkpoint"


def test_the_student_is_what_was_trained(taught):
    run()
    student = load_student(Path("data/students/both"))
    assert student.spec.input_wh == (32, 64)
    assert student.network(torch.zeros(2, 3, 64, 32)).shape == (2, 17, 16, 8)
    header, *rows = Path("data/students/both/curve.csv").read_text().splitlines()
    assert header == "step,total,truth,tiny"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]


def test_a_student_without_teachers_reads_no_store(project):
    lines: list[str] = []
    distill.run(with_student(), "alone", "cpu", say=lines.append)
    assert lines[-1] == "data/students/alone: written"


def test_stores_of_other_views_are_refused(taught):
    prepare.run(params(seed=1), say=lambda line: None)
    with pytest.raises(UserError, match=r"run `pipeline teach --teacher tiny`"):
        run()


def test_a_damaged_store_is_refused_before_the_first_step(taught):
    shard = Path("data/targets/tiny/coco-train.zarr/heatmaps/c/1/0/0/0/0")
    data = bytearray(shard.read_bytes())
    data[10] ^= 4
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"heatmaps/c/1/0/0/0/0: damaged: run `pipeline teach --teacher tiny`"):
        run()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["tiny"], "views": "fresh"}}}, "replayed views only"),
        ({"students": {"both": {"datasets": ["other"]}}}, "unknown dataset `other`"),
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["other"]}}}, "distill.terms.other"),
    ],
)
def test_arms_that_cannot_be(taught, change, words):
    with pytest.raises(UserError, match=words):
        distill.run(with_student() | change, None, "cpu", say=lambda line: None)
