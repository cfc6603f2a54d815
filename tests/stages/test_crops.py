"""Crops beside the targets: they show what the images show, and training with them opens no image file."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.reader import verify_store
from pipeline.common.errors import UserError
from stages import crops, prepare
from stages.distill.inputs import build_inputs
from stages.project.project import project_of
from stages.project.students import StudentConfig
from stages.training.loader import CropJitter, Loader
from tests.fixtures import flip_bit, params, tree

STORE = Path("data/crops/coco.zarr")
ARM = StudentConfig(["coco"])
JITTER = CropJitter(fresh_rotation=None, weak_from=10**6, scale=0.15, shift=0.05, flip=0.5)


def values(images: str = "crops", **distill: Any) -> dict[str, Any]:
    common = {"width": 8, "input": [64, 32], "images": images, "training": {"steps": 6, "batch": 4}}
    return params(crops={"quality": 100}, distill={**common, **distill}, students={"one": {"datasets": ["coco"]}})


def silently(line: str) -> None:
    """Log nothing."""


def batch_of(images: str, step: int = 0):
    task = build_inputs(project_of(values(images)), "one", ARM, 0, "cpu")
    return Loader(task.sources, task.spec, 8, JITTER, 0, 1e7).load(step)


@pytest.fixture
def made(project):
    crops.run(project_of(values()), silently)


@pytest.mark.parametrize("step", range(4))
def test_crops_show_what_the_images_show(made, step):
    """Up to the JPEG's rounding, in jittered and mirrored views; a part that is missing would be black."""
    of_files, of_crops = batch_of("files", step), batch_of("crops", step)
    assert of_files.people == of_crops.people and np.array_equal(of_files.input_from_image, of_crops.input_from_image)
    difference = np.abs(of_files.crops.astype(int) - of_crops.crops)
    assert difference.mean() < 4 and np.quantile(difference, 0.999) < 60


def test_no_image_file_is_opened(made):
    before = batch_of("crops")
    shutil.rmtree("pictures")
    assert np.array_equal(batch_of("crops").crops, before.crops)


def test_a_second_run_finds_nothing_to_do_and_a_damaged_shard_is_written_again(made):
    before = tree(STORE)
    lines: list[str] = []
    crops.run(project_of(values()), lines.append)
    assert lines[0] == f"{STORE}: complete" and tree(STORE) == before
    flip_bit(STORE / "jpeg/c/0/0")
    with pytest.raises(UserError, match=r"jpeg/c/0/0: damaged: run `pipeline crops`, which rebuilds what is damaged"):
        batch_of("crops")
    crops.run(project_of(values()), lines.append)
    assert tree(STORE) == before and verify_store(STORE) == []


def test_a_student_that_sees_more_than_the_crops_show_is_refused(made):
    wider = task_of_error(values(padding=1.5))
    assert "was made for students that see less of an image: run `pipeline crops`" in wider


def test_a_student_that_params_does_not_list_gets_an_error_that_says_what_to_do(made):
    with pytest.raises(
        UserError, match=r"makes none for input, padding and jitter of this student: list it in params.yaml"
    ):
        build_inputs(project_of(values("files")), "one", replace(ARM, distill={"images": "crops"}), 0, "cpu")


def test_crops_that_no_student_reads_any_more_are_removed(made):
    lines: list[str] = []
    crops.run(project_of(values("files")), lines.append)
    assert lines[-1] == f"{STORE}: removed, as no student reads it" and not STORE.exists()


def test_crops_of_other_people_are_refused(made):
    prepare.run(project_of({**params(), "prepare": {"validation": 0.2, "views": 2, "rotation": 10}}), log=silently)
    assert "was made from other views than there are now: run `pipeline crops`" in task_of_error(values())


def test_students_that_read_image_files_or_draw_views_need_no_crops(project):
    lines: list[str] = []
    crops.run(project_of(values("files")), lines.append)
    fresh = values()
    fresh["students"]["one"]["views"] = "fresh"
    crops.run(project_of(fresh), lines.append)
    assert lines == ["no student replays stored views from crops: nothing to write"] * 2
    assert Path("data/crops").is_dir() and not STORE.exists()
    assert build_inputs(project_of(fresh), "one", replace(ARM, views="fresh"), 0, "cpu").sources[0].crops is None


def task_of_error(changed: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        build_inputs(project_of(changed), "one", ARM, 0, "cpu")
    return str(error.value)
