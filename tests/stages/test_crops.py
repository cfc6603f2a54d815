"""Crops beside the targets: they show what the pictures do, and training with them opens no picture."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.reader import verify
from pipeline.errors import UserError
from stages import crops, prepare
from stages.student_task import task_of
from stages.students import Arm
from stages.training_data import Geometry, Loader
from tests.fixtures import flip_bit, params, tree

STORE = Path("data/crops/coco.zarr")
ARM = Arm(["coco"])
JITTER = Geometry(fresh=None, settle=10**6, scale=0.15, shift=0.05, flip=0.5)


def values(pictures: str = "crops", **distill: Any) -> dict[str, Any]:
    common = {"width": 8, "input": [64, 32], "pictures": pictures, "training": {"steps": 6, "batch": 4}}
    return params(crops={"quality": 100}, distill={**common, **distill}, students={"one": {"datasets": ["coco"]}})


def silently(line: str) -> None:
    """Hears it."""


def batch_of(pictures: str, step: int = 0):
    task = task_of(values(pictures), "one", ARM, 0, "cpu")
    return Loader(task.sources, task.spec, 8, JITTER, 0, 1e7).load(step)


@pytest.fixture
def made(project):
    crops.run(values(), silently)


@pytest.mark.parametrize("step", range(4))
def test_crops_show_what_the_pictures_do(made, step):
    """Up to the JPEG's rounding, in jittered and mirrored views; a part that is missing would be black."""
    of_files, of_crops = batch_of("files", step), batch_of("crops", step)
    assert of_files.people == of_crops.people and np.array_equal(of_files.input_from_image, of_crops.input_from_image)
    difference = np.abs(of_files.crops.astype(int) - of_crops.crops)
    assert difference.mean() < 4 and np.quantile(difference, 0.999) < 60


def test_no_picture_is_opened(made):
    before = batch_of("crops")
    shutil.rmtree("pictures")
    assert np.array_equal(batch_of("crops").crops, before.crops)


def test_a_second_run_finds_nothing_to_do_and_a_damaged_part_is_made_anew(made):
    before = tree(STORE)
    said: list[str] = []
    crops.run(values(), said.append)
    assert said[0] == f"{STORE}: complete" and tree(STORE) == before
    flip_bit(STORE / "jpeg/c/0/0")
    with pytest.raises(UserError, match=r"jpeg/c/0/0: damaged: run `pipeline crops`, which rebuilds what is damaged"):
        batch_of("crops")
    crops.run(values(), said.append)
    assert tree(STORE) == before and verify(STORE) == []


def test_a_student_that_sees_more_than_the_crops_show_is_refused(made):
    wider = task_of_error(values(padding=1.5))
    assert "was made for students that look at less of a picture: run `pipeline crops`" in wider


def test_a_student_that_params_does_not_list_is_told_what_to_do(made):
    with pytest.raises(
        UserError, match=r"makes none for input, padding and jitter of this student: list it in params.yaml"
    ):
        task_of(values("files"), "one", replace(ARM, distill={"pictures": "crops"}), 0, "cpu")


def test_crops_that_no_student_reads_any_more_are_removed(made):
    said: list[str] = []
    crops.run(values("files"), said.append)
    assert said[-1] == f"{STORE}: removed, as no student reads it" and not STORE.exists()


def test_crops_of_other_people_are_refused(made):
    prepare.run({**params(), "prepare": {"validation": 0.2, "views": 2, "rotation": 10}}, say=silently)
    assert "was made from other views than there are now: run `pipeline crops`" in task_of_error(values())


def test_students_that_read_pictures_or_draw_views_want_no_crops(project):
    said: list[str] = []
    crops.run(values("files"), said.append)
    fresh = values()
    fresh["students"]["one"]["views"] = "fresh"
    crops.run(fresh, said.append)
    assert said == ["no student replays stored views by way of crops: nothing to make"] * 2
    assert Path("data/crops").is_dir() and not STORE.exists()
    assert task_of(fresh, "one", replace(ARM, views="fresh"), 0, "cpu").sources[0].crops is None


def task_of_error(changed: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        task_of(changed, "one", ARM, 0, "cpu")
    return str(error.value)
