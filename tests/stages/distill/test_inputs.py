"""The inputs of a student's training: its views, labels and targets, stored or from a teacher that runs on every crop."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.people.views import draw_views
from stages.distill.inputs import build_inputs
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.project.students import StudentConfig
from stages.stores.targets import open_target_store
from stages.students.settings import settings_of
from stages.training.loader import CropJitter, Loader, TrainingSource
from tests.stages.training.tiny_student import student_params

STILL = CropJitter(fresh_rotation=None, weak_from=10**6, scale=0.0, shift=0.0, flip=0.0)
BOTH = StudentConfig(["coco"], ["tiny"])


def source_of(student: StudentConfig) -> TrainingSource:
    """Return the only dataset of the student's training."""
    return build_inputs(project_of(student_params()), "both", student, 0, "cpu").sources[0]


def test_an_online_teacher_gives_what_its_store_has_for_the_same_regions(taught):
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    store = open_target_store(project_of(student_params()), "tiny", "coco", "train", people, views)
    inputs = build_inputs(project_of(student_params()), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    assert inputs.sources[0].stores == {}
    loader = Loader(inputs.sources, inputs.spec, 8, STILL, 0, 1e7, inputs.online)
    batch = loader.load(0)
    stored = store.read(slice(0, len(people)), 0)
    rows = [int(np.flatnonzero(stored.person == person)[0]) for person in batch.targets["tiny"].person]
    online = batch.targets["tiny"]
    assert np.array_equal(online.levels["heatmaps"], stored.levels["heatmaps"][rows])
    assert np.array_equal(online.score, stored.score[rows])
    assert np.allclose(online.image_from_target, stored.image_from_target[rows], atol=1e-9)
    assert batch.people == [f"coco person {person}" for person in online.person]


def test_an_online_teacher_is_run_on_fresh_regions_with_their_jitter(taught):
    inputs = build_inputs(project_of(student_params()), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    moved = dataclasses.replace(STILL, fresh_rotation=30.0, scale=0.2, shift=0.1, flip=0.5)
    batch = Loader(inputs.sources, inputs.spec, 8, moved, 0, 1e7, inputs.online).load(0)
    block = batch.targets["tiny"]
    # Teacher and student pad alike and cover the same region: the centres of both crops are the same image point.
    width, height = inputs.spec.input_wh
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    affine = batch.input_from_image
    image = np.linalg.solve(affine[:, :, :2], (middle - affine[:, :, 2])[:, :, None])[:, :, 0]
    h, w = block.levels["heatmaps"].shape[-2:]
    target = np.array([(w - 1) / 2, (h - 1) / 2])
    theirs = block.image_from_target[:, 0, :, :2] @ target + block.image_from_target[:, 0, :, 2]
    assert np.allclose(image, theirs, atol=1e-6)


def test_the_first_views_only(taught):
    source = source_of(dataclasses.replace(BOTH, view_count=1))
    assert source.views.kinds == ("plain",)
    drawn = draw_views(source.people, 2, 0)
    assert np.array_equal(drawn.first(1).center, drawn.center[:, :1])
    assert drawn.first(None).kinds == drawn.kinds


def test_without_teachers_only_labelled_people_are_trained_on(taught):
    source = source_of(StudentConfig(["coco"], label_drop=0.5))
    with_teacher = source_of(dataclasses.replace(BOTH, label_drop=0.5))
    assert np.array_equal(source.people.labelled, with_teacher.people.labelled)
    assert source.people.use.sum() < with_teacher.people.use.sum()
    assert source.people.labelled[source.people.use].any(axis=1).all()


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (dataclasses.replace(BOTH, views="fresh"), "teachers have seen the stored views only"),
        (StudentConfig(["coco"], views="online"), "`views: online` needs teachers, found none"),
        (StudentConfig(["coco"], views="fresh", view_count=2), "counts stored views, found `views: fresh`"),
        (dataclasses.replace(BOTH, view_count=3), "expected at most the 2 of prepare.views, found 3"),
    ],
)
def test_views_that_are_impossible_with_the_teachers_are_refused(taught, student, message):
    with pytest.raises(UserError, match=message):
        build_inputs(project_of(student_params()), "both", student, 0, "cpu")


def test_a_student_changes_only_the_settings_it_names():
    student = dataclasses.replace(BOTH, distill={"width": 16, "training": {"steps": 9}})
    settings = settings_of(project_of(student_params()), "both", student)
    assert (settings.width, settings.min_score) == (16, 0.0)
    assert (settings.training.steps, settings.training.batch, settings.training.precision) == (9, 4, "float32")
    with pytest.raises(UserError, match=r"students.both.distill: unknown key `widht`: did you mean `width`"):
        settings_of(project_of(student_params()), "both", dataclasses.replace(BOTH, distill={"widht": 16}))


def test_an_online_teacher_is_part_of_the_fingerprint(taught):
    inputs = build_inputs(project_of(student_params()), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
    assert inputs.online_teachers["tiny"][0] == sha256(Path("tiny.onnx"))
    for key, value in (("padding", 1.5), ("color", "bgr"), ("flip", True), ("precision", "float16")):
        values = student_params()
        values["teachers"]["tiny"][key] = value
        other = build_inputs(project_of(values), "both", dataclasses.replace(BOTH, views="online"), 0, "cpu")
        assert inputs.fingerprint != other.fingerprint, key
    other = dataclasses.replace(inputs, online_teachers={"tiny": ["another"]})
    assert inputs.fingerprint != other.fingerprint
