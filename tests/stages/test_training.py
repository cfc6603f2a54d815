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
from stages import distill, prepare, student_settings, teach
from stages.datasets import PrepareSettings
from stages.fetching.catalogue import STARTS
from stages.params import load_params, parse, settings
from stages.students import arms
from stages.training import TrainingSettings, label_deviation, label_sigma
from tests.closure import ROOT
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
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["tiny"], "views": "fresh"}}}, "stored views only"),
        ({"students": {"both": {"datasets": ["other"]}}}, "unknown dataset `other`"),
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["other"]}}}, "distill.terms.other"),
    ],
)
def test_arms_that_cannot_be(taught, change, words):
    with pytest.raises(UserError, match=words):
        distill.run(with_student() | change, None, "cpu", say=lambda line: None)


@pytest.mark.parametrize("profile", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.name)
def test_a_profile_is_understood_to_the_end(profile):
    """Every student's settings with what it changes of them, its weights, its spec, its recipe over a million people."""
    values = load_params(profile)
    settings(values, "prepare", PrepareSettings)
    for name, arm in arms(values).items():
        chosen = student_settings.settings_of(values, name, arm)
        recipe = parse(chosen.training, "distill.training", TrainingSettings)
        assert 0 < recipe.rise(recipe.length(1_000_000)) < recipe.length(1_000_000)
        weights = student_settings.weights_of(values, chosen, arm)
        assert list(weights) == ["truth", *arm.teachers]
        assert len(student_settings.student_spec(values, chosen).skeleton) == 21


def test_the_published_recipe():
    """Khan et al. 2024, and MMPose's configuration of RTMPose-s for the schedule, the average and the starting weights."""
    values = load_params(ROOT / "params/paper.yaml")
    chosen = student_settings.settings_of(values, "unified", arms(values)["unified"])
    recipe = parse(chosen.training, "distill.training", TrainingSettings)
    steps = recipe.length(172_000)
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay) == (420, 1024, 4e-3, 0.05)
    assert (recipe.schedule, recipe.rise(steps), recipe.average, recipe.average_warm_up) == (
        "flat-cosine",
        1000,
        0.9998,
        2000,
    )
    assert round(recipe.settle * 420) == 30
    assert (chosen.network, Path(chosen.start).name) == (
        "rtmpose-s",
        next(start.file for start in STARTS if start.network == "rtmpose-s"),
    )
    assert student_settings.weights_of(values, chosen, arms(values)["unified"]) == {
        "truth": 0.3,
        "coco": 0.25,
        "mpii": 0.45,
    }
    spec = student_settings.student_spec(values, chosen)
    assert (spec.kind, spec.input_wh) == ("simcc", (192, 256))
    assert label_sigma(recipe, spec) == pytest.approx((4.9, 5.66), abs=0.005)
    assert label_deviation(recipe, spec) == pytest.approx((4.9 / 3.1623, 5.66 / 3.1623), abs=0.005)
