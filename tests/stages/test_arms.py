"""Where an arm's views, labels and targets come from: stored, warped, or from a teacher that runs on every crop."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.views import draw_views
from stages.datasets import load_people, load_views
from stages.online import online_teacher
from stages.stores import open_store
from stages.student_settings import settings_of
from stages.student_task import task_of
from stages.students import Arm
from stages.training_data import Geometry, Loader, Source
from tests.fixtures import params

STILL = Geometry(fresh=None, settle=10**6, scale=0.0, shift=0.0, flip=0.0)
BOTH = Arm(["coco"], ["tiny"])


def values() -> dict[str, Any]:
    return params(
        distill={
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "score_floor": 0.0,
            "training": {"steps": 6, "batch": 4, "precision": "float32"},
        },
        students={"both": {"datasets": ["coco"], "teachers": ["tiny"]}},
    )


def source_of(arm: Arm) -> Source:
    return task_of(values(), "both", arm, 0, "cpu").sources[0]


def test_an_online_teacher_gives_what_its_store_has_for_the_same_regions(taught):
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    store = open_store(values(), "tiny", "coco", "train", people, views)
    task = task_of(values(), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    assert task.sources[0].stores == {}
    loader = Loader(task.sources, task.spec, 8, STILL, 0, 1e7, task.online)
    batch = loader.load(0)
    stored = store.read(slice(0, len(people)), 0)
    rows = [int(np.flatnonzero(stored.person == person)[0]) for person in batch.targets["tiny"].person]
    looked = batch.targets["tiny"]
    assert np.array_equal(looked.levels["heatmaps"], stored.levels["heatmaps"][rows])
    assert np.array_equal(looked.score, stored.score[rows])
    assert np.allclose(looked.image_from_target, stored.image_from_target[rows], atol=1e-9)
    assert batch.people == [f"coco person {person}" for person in looked.person]


def test_an_online_teacher_sees_fresh_regions_with_their_jitter(taught):
    task = task_of(values(), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    moved = dataclasses.replace(STILL, fresh=30.0, scale=0.2, shift=0.1, flip=0.5)
    batch = Loader(task.sources, task.spec, 8, moved, 0, 1e7, task.online).load(0)
    block = batch.targets["tiny"]
    # Teacher and student pad alike and cover the same region: the centres of both crops are the same picture point.
    width, height = task.spec.input_wh
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    affine = batch.input_from_image
    image = np.linalg.solve(affine[:, :, :2], (middle - affine[:, :, 2])[:, :, None])[:, :, 0]
    h, w = block.levels["heatmaps"].shape[-2:]
    target = np.array([(w - 1) / 2, (h - 1) / 2])
    theirs = block.image_from_target[:, 0, :, :2] @ target + block.image_from_target[:, 0, :, 2]
    assert np.allclose(image, theirs, atol=1e-6)


def test_warped_targets_are_those_of_view_0_in_fresh_views(taught):
    task = task_of(values(), "both", dataclasses.replace(BOTH, views="warped"), 0, "cpu")
    assert task.warped and task.fresh is not None
    assert task.sources[0].views.kinds == ("plain",)
    batch = Loader(task.sources, task.spec, 8, dataclasses.replace(STILL, fresh=30.0), 0, 1e7).load(0)
    people = load_people("coco", "train")
    store = open_store(values(), "tiny", "coco", "train", people, load_views("coco", "train", people))
    stored = store.read(slice(0, len(people)), 0)
    rows = [int(np.flatnonzero(stored.person == person)[0]) for person in batch.targets["tiny"].person]
    assert np.array_equal(batch.targets["tiny"].levels["heatmaps"], stored.levels["heatmaps"][rows])


def test_the_first_views_only(taught):
    source = source_of(dataclasses.replace(BOTH, view_count=1))
    assert source.views.kinds == ("plain",)
    drawn = draw_views(source.people, 2, 0)
    assert np.array_equal(drawn.first(1).center, drawn.center[:, :1])
    assert drawn.first(None).kinds == drawn.kinds


def test_without_teachers_only_labelled_people_are_trained_on(taught):
    alone = Arm(["coco"], missing=0.5)
    source = source_of(alone)
    taught_too = source_of(dataclasses.replace(BOTH, missing=0.5))
    assert np.array_equal(source.people.labelled, taught_too.people.labelled)
    assert source.people.use.sum() < taught_too.people.use.sum()
    assert source.people.labelled[source.people.use].any(axis=1).all()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (dataclasses.replace(BOTH, views="fresh"), "teachers have seen the stored views only"),
        (Arm(["coco"], views="online"), "`views: online` wants teachers, found none"),
        (Arm(["coco"], views="fresh", view_count=2), "counts stored views, found `views: fresh`"),
        (dataclasses.replace(BOTH, view_count=3), "expected at most the 2 of prepare.views, found 3"),
    ],
)
def test_views_that_do_not_go_with_the_teachers_are_refused(taught, arm, message):
    with pytest.raises(UserError, match=message):
        task_of(values(), "both", arm, 0, "cpu")


def test_an_arm_changes_only_what_it_names():
    arm = dataclasses.replace(BOTH, distill={"width": 16, "training": {"steps": 9}})
    chosen = settings_of(values(), "both", arm)
    assert (chosen.width, chosen.score_floor) == (16, 0.0)
    assert chosen.training == {"steps": 9, "batch": 4, "precision": "float32"}
    with pytest.raises(UserError, match=r"students.both.distill: unknown key `widht`: did you mean `width`"):
        settings_of(values(), "both", dataclasses.replace(BOTH, distill={"widht": 16}))


def test_the_file_of_an_online_teacher_is_part_of_the_fingerprint(taught):
    task = task_of(values(), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    _, sha256 = online_teacher(values(), "tiny", "cpu")
    assert task.online_files == {"tiny": sha256}
    other = dataclasses.replace(task, online_files={"tiny": "another"})
    assert task.fingerprint("p") != other.fingerprint("p")
