"""Geometry that cannot be meant is found, by counts and the first person; what can be meant, real datasets with it, is not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.datasets.aic import read_aic
from pipeline.datasets.coco import read_coco
from pipeline.datasets.crowdpose import read_crowdpose
from pipeline.datasets.halpe import read_halpe
from pipeline.datasets.mpii import read_mpii_json
from pipeline.people.people import People
from pipeline.people.plausibility import areas_used, findings, usable_areas
from pipeline.pose.skeletons import COCO17, MPII16, NO_SKELETON, Skeleton
from tests.pipeline import examples

FORMS = {
    "corners (x1, y1, x2, y2)": lambda x, y, w, h, wh: [x, y, x + w, y + h],
    "x1, x2, y1, y2": lambda x, y, w, h, wh: [x, x + w, y, y + h],
    "centre and size": lambda x, y, w, h, wh: [x + w / 2, y + h / 2, w, h],
    "numbers of at most 1": lambda x, y, w, h, wh: [x / wh[0], y / wh[1], w / wh[0], h / wh[1]],
}
"""Box x, y, width, height in an image of size `wh` in other forms, by the words of the finding."""


def people(count: int, skeleton: Skeleton = COCO17, seed: int = 0) -> People:
    """People whose boxes lie inside their images."""
    return examples.people(count, skeleton, seed, image_wh=np.tile(np.array([300, 240], np.int32), (count, 1)))


def in_form(table: People, form: str) -> People:
    wh = table.image_wh.T
    return dataclasses.replace(table, box=np.column_stack(FORMS[form](*table.box.T, wh)))


def without_labels(table: People) -> People:
    return dataclasses.replace(
        table, skeleton=NO_SKELETON, keypoints=table.keypoints[:, :0], labelled=table.labelled[:, :0]
    )


def changed(table: People, rows: int, place: tuple[float, float]) -> People:
    """The table with the first keypoint of the first `rows` people at a place."""
    table.keypoints[:rows, 0] = place
    return table


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), labelled=st.floats(0.5, 1))
@example(seed=1783, count=36, labelled=0.5)
def test_people_inside_boxes_inside_images_are_not_complained_of(seed, count, labelled):
    """One with few labels may fit another form of box by chance, which is a mention and no error."""
    table = people(count, seed=seed)
    mask = np.random.default_rng(seed).random(table.labelled.shape) < labelled
    table = dataclasses.replace(table, labelled=mask, keypoints=np.where(mask[..., None], table.keypoints, 0))
    assert all("fits their keypoints as" in finding.text and not finding.of_most for finding in findings(table))
    assert (
        findings(people(count, seed=seed))
        == []
        == findings(without_labels(table))
        == findings(people(count, MPII16, seed))
    )


@given(seed=st.integers(0, 10**6), form=st.sampled_from(list(FORMS)), count=st.integers(10, 40))
def test_boxes_in_another_form_are_found_by_their_keypoints(seed, form, count):
    table = people(count, seed=seed)
    table.box[:, :2] += 60  # at the upper left of an image corners are almost x, y, width, height
    table.keypoints[:] += 60
    table.image_wh[:] += 60
    assert any(form in finding.text and finding.of_most for finding in findings(in_form(table, form)))


@pytest.mark.parametrize("form", FORMS)
def test_real_boxes_in_another_form_are_found(real, form):
    table = read_coco(real / "coco" / "person_keypoints.json")
    used = table.rows(table.use)
    for version in (used, without_labels(used)):
        assert any(form in finding.text and finding.of_most for finding in findings(in_form(version, form)))


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (read_coco, "coco/person_keypoints.json"),
        (read_coco, "evaluation/keypoints_truth.json"),
        (read_coco, "two_datasets/coco/person_keypoints_train.json"),
        (read_coco, "two_datasets/coco/person_keypoints_test.json"),
        (read_aic, "aic/test_aic.json"),
        (read_crowdpose, "crowdpose/test_crowdpose.json"),
        (read_halpe, "halpe/test_halpe.json"),
        (read_mpii_json, "mpii/mpii_val.json"),
        (read_mpii_json, "two_datasets/mpii/mpii_train.json"),
    ],
)
def test_real_people_are_not_complained_of(real, read, file):
    lines: list[str] = []
    table = read(real / file) if read is read_mpii_json else read(real / file, warn=lines.append)
    assert lines == [] == findings(table)


def test_what_is_said_of_few_and_of_most():
    table = people(10)
    first = "(first person 100 in 000.png: 1 of 17, nose at (310, 50), image 300 x 240)"
    assert [(f.text, f.of_most) for f in findings(changed(table, 1, (310, 50)))] == [
        (f"1 of 10 people have keypoints outside their image {first}", False)
    ]
    ((text, of_most),) = [(f.text, f.of_most) for f in findings(changed(table, 6, (310, 50)))]
    assert text == f"6 of 10 people have keypoints outside their image {first}" and of_most
    assert findings(changed(people(10), 10, (302, 50))) == []  # the border
    assert findings(changed(people(100), 1, (310, 50))) == []  # one of a hundred
    ((text, of_most),) = [(f.text, f.of_most) for f in findings(changed(people(100), 1, (0, 0)))]
    assert text.startswith("1 of 100 people have labelled keypoints at (0, 0) (first person 100 in 000.png: 1 of 17")


def test_an_image_that_is_stated_as_stored_and_labelled_as_shown():
    """Sizes 240 x 300 as shown, stated as 300 x 240."""
    table = people(10)
    table.keypoints[:, 0] = 150, 280
    assert "turned by 90 degrees the images hold them" in findings(table)[0].text
    table.keypoints[:, 0] = 320, 20
    assert "turned" not in findings(table)[0].text


def test_keypoints_as_shares_of_the_image_and_in_other_boxes():
    table = people(10)
    shares = dataclasses.replace(table, keypoints=table.keypoints / table.image_wh[:, None])
    assert any("all coordinates at most 1" in f.text and f.of_most for f in findings(shares))
    moved = dataclasses.replace(table, box=table.box + np.array([120.0, 0, 0, 0]))
    assert any("most keypoints outside their box" in f.text and f.of_most for f in findings(moved))


def test_people_who_are_not_in_use_are_not_looked_at():
    table = changed(people(10), 10, (0, 0))
    assert findings(dataclasses.replace(table, use=np.zeros(10, bool))) == []


@pytest.mark.parametrize(
    ("area", "usable"),
    [
        (0, False),
        (1, False),
        (-5, False),
        (np.nan, False),
        (2, True),
        (900, True),
        (1800, True),
        (1801, False),
        (1e9, False),
    ],
)
def test_which_areas_can_be_meant_beside_a_box_of_30_by_30(area, usable):
    assert usable_areas(np.array([area]), np.array([[5.0, 5, 30, 30]])).tolist() == [usable]
    assert usable_areas(np.array([1.0]), np.array([[5.0, 5, 3, 2]])).tolist() == [True]


def test_one_area_for_people_of_many_sizes_is_a_placeholder():
    box = np.column_stack([np.zeros((12, 2)), np.full(12, 20), np.arange(12) + 20])
    stated = np.array([300.0] * 11 + [200])
    assert usable_areas(stated, box).tolist() == [False] * 11 + [True]
    assert usable_areas(stated, np.tile(box[:1], (12, 1))).all()  # people of one size


def test_the_areas_that_are_used_are_named():
    table = people(4)
    box = table.box[:, 2:].prod(axis=1)
    for share, words in (
        (0.53, "0.53 x box, as no usable area is annotated"),
        (1, "the whole box"),
        (0.4, "the annotated area"),
    ):
        assert areas_used(dataclasses.replace(table, area=share * box)) == words
    mixed = areas_used(dataclasses.replace(table, area=np.array([0.53, 0.53, 0.53, 0.4]) * box))
    assert mixed == "0.53 x box, as no usable area is annotated of 3 people, the annotated area of 1 people"
