"""`distill` over an interruption: the checkpoint, what is refused, what starts from the beginning, and the bytes at the end."""

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks.build import load_student
from pipeline.networks.published import BACKBONE_CHECKPOINTS
from pipeline.training.trainer import Trainer
from stages import prepare
from stages.distill import inputs
from stages.distill import run as distill
from stages.project.datasets import PrepareSettings
from stages.project.project import load_project, project_of
from stages.students import settings as student_settings
from stages.training.batches import label_sigma
from tests.closure import ROOT
from tests.fixtures import params, tree
from tests.stages.training.tiny_student import student_params

CHECKPOINT = Path("data/checkpoints/student-both.pt")


def with_baseline(**training: Any) -> dict[str, Any]:
    """Return the parameters of the tiny student and of a baseline without teachers."""
    return student_params(**training) | {"baselines": {"alone": {"datasets": ["coco"], "views": "fresh"}}}


def run(**changes: Any) -> list[str]:
    """Run `distill` and return its messages."""
    lines: list[str] = []
    distill.run(project_of(with_baseline(**changes)), None, "cpu", log=lines.append)
    return lines


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send Ctrl-C to the next run, in the middle of that step."""
    plain, taken = Trainer.step, itertools.count(1)

    def step(self, batch):
        if next(taken) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", step)


def test_an_interrupted_run_ends_with_the_bytes_of_an_undisturbed_one(taught, monkeypatch):
    run()
    undisturbed = tree(Path("data/students/both"))
    with monkeypatch.context() as patch:
        interrupt_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert CHECKPOINT.is_file()
    lines = run()
    assert lines[0] == f"resuming from {CHECKPOINT}, step 4"
    resumed = tree(Path("data/students/both"))
    assert resumed["student.safetensors"] == undisturbed["student.safetensors"]
    assert resumed["curve.csv"] == undisturbed["curve.csv"]
    assert not CHECKPOINT.exists()


def test_a_checkpoint_of_other_settings_is_left_alone_unless_asked_for(taught, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    lines = run(flip=0.0)
    assert lines[0].startswith(f"{CHECKPOINT} is of other settings, inputs or code: training starts from the beginning")
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run()
    for change in ({"steps": 9}, {"learning_rate": 0.0001}, {"weight_decay": 0.0}):
        ((key, value),) = change.items()
        with pytest.raises(
            UserError, match=rf"--resume cannot change {key}: expected .*, found {value} in params.yaml"
        ):
            distill.run(project_of(with_baseline(**change)), None, "cpu", resume=True, log=lambda line: None)
    adaptive = with_baseline()
    adaptive["distill"]["weights"] = "adaptive"
    with pytest.raises(
        UserError, match=r"--resume cannot change shares: expected \[\], found \['tiny'\] in params.yaml"
    ):
        distill.run(project_of(adaptive), None, "cpu", resume=True, log=lambda line: None)
    messages: list[str] = []
    distill.run(project_of(with_baseline(flip=0.0)), None, "cpu", resume=True, log=messages.append)
    assert messages[0] == f"resuming from {CHECKPOINT}, step 3"


def test_a_curve_point_over_an_interruption_is_complete(taught, monkeypatch):
    """A point of a training of 200 steps is the mean of two; these are the first eight steps, once with a stop between the two."""

    def curve(*stops: int) -> list[dict[str, float]]:
        for steps in stops:
            with monkeypatch.context() as patch:
                interrupt_after(steps, patch)
                with pytest.raises(KeyboardInterrupt):
                    run(steps=200)
        points = torch.load(CHECKPOINT, weights_only=True)["curve"]
        CHECKPOINT.unlink()
        return points

    undisturbed = curve(8)
    assert [point["step"] for point in undisturbed] == [2, 4, 6, 8]
    assert curve(3, 5) == undisturbed


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


def test_other_seeds_stand_in_the_students_folder_and_are_trained_once(taught):
    def train(*seeds):
        lines: list[str] = []
        distill.run(project_of(with_baseline()), None, "cpu", log=lines.append, seeds=seeds)
        return lines

    def weights(*folder):
        return Path("data/students/both", *folder, "student.safetensors").read_bytes()

    run()
    alone = weights()
    assert list(Path("data/students/both/seeds").iterdir()) == []
    train(0, 2, 1)
    assert weights() == alone and len({weights(), weights("seeds", "1"), weights("seeds", "2")}) == 3
    assert json.loads(Path("data/students/both/seeds/1/student.json").read_text())["seed"] == 1
    lines = train(0, 1)
    assert "data/students/both/seeds/1: is already trained, with the same settings, inputs and code" in lines
    assert [path.name for path in Path("data/students/both/seeds").iterdir()] == ["1"]
    # A kill while the first student was saved has left the others beside its folder.
    Path("data/students/both.partial").mkdir()
    Path("data/students/both/seeds").rename("data/students/both.partial/seeds")
    assert "data/students/both/seeds/1: is already trained, with the same settings, inputs and code" in train(0, 1)
    train(1)
    assert weights() != alone and list(Path("data/students/both/seeds").iterdir()) == []


def test_an_average_over_more_steps_than_there_are_is_named(taught):
    assert not any("training.average" in line for line in run(average=0.5))
    assert (
        "training.average: 0.98 averages the weights of some 50 steps, and the training has 6: what is saved is mostly how it began; "
        "take 0.00 for example"
    ) in run()


def test_a_student_without_teachers_reads_no_store(project):
    lines: list[str] = []
    distill.run(project_of(with_baseline()), "alone", "cpu", log=lines.append)
    assert lines[-1] == "data/students/alone: written"


def test_stores_of_other_views_are_refused(taught):
    prepare.run(project_of(params(seed=1)), log=lambda line: None)
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
    ("change", "message"),
    [
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["tiny"], "views": "fresh"}}}, "stored views only"),
        ({"students": {"both": {"datasets": ["other"]}}}, "unknown dataset `other`"),
        ({"students": {"both": {"datasets": ["coco"], "teachers": ["other"]}}}, "distill.terms.other"),
    ],
)
def test_impossible_students_are_refused(taught, change, message):
    with pytest.raises(UserError, match=message):
        distill.run(project_of(with_baseline() | change), None, "cpu", log=lambda line: None)


@pytest.mark.parametrize("profile", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.name)
def test_all_settings_of_a_profile_are_valid(profile):
    """Every student's own settings, its loss weights, its spec, and its recipe over a million people."""
    project = load_project(profile)
    project.section("prepare", PrepareSettings)
    for name, student in project.students.items():
        settings = student_settings.settings_of(project, name, student)
        recipe = settings.training
        assert 0 < recipe.rise(recipe.length(1_000_000)) < recipe.length(1_000_000)
        weights = inputs.loss_weights(project, settings, student)
        assert list(weights) == ["truth", *student.teachers]
        assert len(student_settings.student_spec(project, settings).skeleton) == 21


def test_the_published_recipe():
    """Khan et al. 2024, and MMPose's configuration of RTMPose-s for the schedule, the average and the starting weights."""
    project = load_project(ROOT / "params/paper.yaml")
    settings = student_settings.settings_of(project, "unified", project.students["unified"])
    recipe = settings.training
    steps = recipe.length(172_000)
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay) == (420, 1024, 4e-3, 0.05)
    assert (recipe.schedule, recipe.rise(steps), recipe.average, recipe.average_warm_up) == (
        "flat-cosine",
        1000,
        0.9998,
        2000,
    )
    assert round(recipe.final_weak_share * 420) == 30
    assert (settings.network, Path(settings.start).name) == (
        "rtmpose-s",
        next(start.file for start in BACKBONE_CHECKPOINTS if start.network == "rtmpose-s"),
    )
    assert inputs.loss_weights(project, settings, project.students["unified"]) == {
        "truth": 0.3,
        "coco": 0.25,
        "mpii": 0.45,
    }
    spec = student_settings.student_spec(project, settings)
    assert (spec.kind, spec.input_wh) == ("simcc", (192, 256))
    assert label_sigma(recipe, spec) == pytest.approx((4.9, 5.66), abs=0.005)


def test_a_teacher_that_joins_at_a_resumption_has_a_column_of_its_own(taught, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            distill.run(project_of(with_baseline()), "alone", "cpu", log=lambda line: None)
    joined = with_baseline()
    joined["baselines"] = {}
    joined["students"]["alone"] = {"datasets": ["coco"], "teachers": ["tiny"]}
    distill.run(project_of(joined), "alone", "cpu", resume=True, log=lambda line: None)
    first, *_, last = Path("data/students/alone/curve.csv").read_text().splitlines()
    assert first == "step,total,truth,tiny" and not last.endswith(",")


def test_without_a_label_left_there_is_nobody_to_learn_from(taught):
    values = with_baseline()
    values["baselines"]["alone"]["label_drop"] = 0.999
    with pytest.raises(
        UserError, match=r"students.alone.label_drop: expected labels left in coco, found none of 42 people"
    ):
        distill.run(project_of(values), "alone", "cpu", log=lambda line: None)
