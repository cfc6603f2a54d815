import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.aic import read_aic, read_aic_release
from pipeline.pose.skeletons import AIC14


@pytest.fixture
def released():
    """Two images as AI Challenger released them: two people, and one of whom nothing is labelled."""
    triplets = [10 * k + part for k in range(14) for part in (1, 2, 0)]
    triplets[2::3] = [1, 2, 3] + [1] * 11
    return [
        {
            "image_id": "a0f6",
            "url": "http://somewhere",
            "human_annotations": {"human2": [5, 10, 25, 50], "human1": [0, 0, 8, 8]},
            "keypoint_annotations": {"human1": [0, 0, 3] * 14, "human2": triplets},
        },
        {
            "image_id": "b1",
            "human_annotations": {"human1": [9, 9, 9, 19]},
            "keypoint_annotations": {"human1": triplets},
        },
    ]


def test_the_coco_form(fourteen_document, write_json):
    people = read_aic(write_json(fourteen_document(AIC14)))
    assert people.skeleton == AIC14 and people.use.tolist() == [True, False]
    assert np.flatnonzero(people.labelled[0]).tolist() == [0, 1, 13]
    assert people.keypoints[0, AIC14.index("right_elbow")].tolist() == [30.5, 40.25]
    assert people.area == pytest.approx([0.53 * 1200, 0.53 * 72])


def test_the_released_form(released, write_json):
    people = read_aic_release(write_json(released))
    assert people.skeleton == AIC14
    assert people.person.tolist() == [0, 1, 2] and people.image_id.tolist() == [0, 0, 1]
    assert people.image.tolist() == ["a0f6.jpg", "a0f6.jpg", "b1.jpg"]
    assert people.image_wh.tolist() == [[0, 0]] * 3
    assert people.box.tolist() == [[5, 10, 20, 40], [0, 0, 8, 8], [9, 9, 0, 10]]
    assert people.area == pytest.approx([0.53 * 800, 0.53 * 64, 0])
    assert people.use.tolist() == [True, False, False]
    assert people.labelled.sum(axis=1).tolist() == [13, 0, 13]
    assert people.keypoints[0, AIC14.index("right_elbow")].tolist() == [11, 12]  # hidden, 2
    assert people.keypoints[0, AIC14.index("right_wrist")].tolist() == [0, 0]  # not labelled, 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((0, "image_id", 5), ["image 0", "an image file name", "found 5"]),
        ((0, "image_id", "../a"), ["image 0", "inside the image folder"]),
        ((1, "image_id", "a0f6"), ["image 1", "`image_id` once", "'a0f6.jpg' twice"]),
        ((0, "human_annotations", []), ["image 0", "`human_annotations` by person", "found []"]),
        ((0, "human_annotations", "human1", [1, 2, 3]), ["image 0 'human1'", "its box to hold 4", "found 3"]),
        ((0, "keypoint_annotations", "human1", [1] * 41), ["'human1'", "its keypoints to hold 42", "found 41"]),
        ((0, 7), ["image 0", "an object with `image_id`", "found 7"]),
    ],
)
def test_errors_name_file_entry_expected_and_found(released, refused_words, change, words):
    assert refused_words(read_aic_release, released, change, words) == words


def test_each_form_refuses_the_other(fourteen_document, released, write_json):
    with pytest.raises(UserError, match=r"file.json: expected a list of images, found"):
        read_aic_release(write_json(fourteen_document(AIC14)))
    with pytest.raises(UserError, match=r"file.json: expected an object with `categories`, found"):
        read_aic(write_json(released))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_annotations_are_read_or_refused(fourteen_document, released, write_json, damage, data):
    release = data.draw(st.booleans())
    document = copy.deepcopy(released) if release else fourteen_document(AIC14)
    path = write_json(data.draw(damage(document)))
    try:
        people = read_aic_release(path) if release else read_aic(path)
    except UserError as error:
        assert "file.json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(people.box).all() and np.isfinite(people.keypoints).all() and np.isfinite(people.area).all()
        assert len(set(people.person.tolist())) == len(people)


def test_the_real_sample(real):
    people = read_aic(real / "aic" / "test_aic.json")
    assert (len(people), people.use.sum(), len(np.unique(people.image))) == (9, 9, 3)
    assert people.labelled.sum(axis=1).tolist() == [10, 6, 10, 8, 14, 11, 14, 14, 14]  # its `num_keypoints`
    assert people.keypoints[0, AIC14.index("head_top")].tolist() == [395, 74]
    assert people.area[0] == pytest.approx(0.53 * 213 * 544)
