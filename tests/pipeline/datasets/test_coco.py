import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_coco, read_detections, read_listing
from pipeline.pose.skeletons import COCO17, Skeleton


def test_every_person_annotation_is_kept_as_written(coco_document, write_json):
    people = read_coco(write_json(coco_document))
    assert people.skeleton == COCO17
    assert people.person.tolist() == [100, 101, 102]
    assert people.image.tolist() == ["sub/b.jpg", "a.jpg", "a.jpg"]
    assert people.image_id.tolist() == [9, 7, 7]
    assert people.image_wh.tolist() == [[50, 60], [640, 480], [640, 480]]
    assert people.box.tolist() == [[1.5, 2, 30, 40], [0, 0, 9, 9], [0, 0, 9, 8]]
    assert people.area.tolist() == [700.5, 5, 0.53 * 72]  # the third states none: 0.53 of its box
    assert people.crowd.tolist() == [False, True, False]
    assert people.use.tolist() == [True, False, False]
    assert np.isnan(people.head_box).all()
    nose, left_eye = COCO17.index("nose"), COCO17.index("left_eye")
    assert people.labelled.sum(axis=1).tolist() == [2, 0, 0]
    assert people.keypoints[0, nose].tolist() == [10, 20]
    assert people.keypoints[0, left_eye].tolist() == [30.5, 40.25]
    assert people.keypoints[~people.labelled].tolist() == [[0, 0]] * 49


def test_dtypes_are_the_contract(coco_document, write_json):
    people = read_coco(write_json(coco_document))
    kinds = {"person": "int64", "image_id": "int64", "image_wh": "int32", "box": "float64", "area": "float64"}
    kinds |= {"crowd": "bool", "use": "bool", "keypoints": "float64", "labelled": "bool", "head_box": "float64"}
    assert {name: str(getattr(people, name).dtype) for name in kinds} == kinds
    assert people.image.dtype.kind == "U"


def test_boxes_only_uses_every_positive_box(coco_document, write_json):
    for annotation in coco_document["annotations"]:
        annotation.pop("keypoints", None)
    coco_document["annotations"][2]["bbox"] = [5, 5, 0, 8]
    assert read_coco(write_json(coco_document)).use.tolist() == [True, False, False]


def test_a_box_without_extent_is_kept_but_not_used(coco_document, write_json):
    coco_document["annotations"][0]["bbox"] = [5, 5, -3, 8]
    people = read_coco(write_json(coco_document))
    assert people.box[0].tolist() == [5, 5, -3, 8] and not people.use[0]


def test_a_single_category_is_the_person_whatever_its_name(coco_document, write_json):
    coco_document["categories"] = [{"id": 0, "name": "human"}]
    for annotation in coco_document["annotations"]:
        annotation["category_id"] = 0
    assert read_coco(write_json(coco_document)).person.tolist() == [100, 101, 102, 103]


def test_annotations_of_no_listed_category_or_of_nobody_are_refused(coco_document, write_json):
    coco_document["annotations"][1]["category_id"] = 0
    message = (
        r"annotations 1: expected its `category_id` among `categories` \(1, 18\), found 0, and such ids in 1 of 4 annot"
    )
    with pytest.raises(UserError, match=message):
        read_coco(write_json(coco_document))
    for annotation in coco_document["annotations"]:
        annotation["category_id"] = 18
    with pytest.raises(UserError, match=r"expected annotations of people \(category 1\), found 4 of category 18"):
        read_coco(write_json(coco_document))


def test_an_image_that_stands_twice_is_one_image(coco_document, write_json):
    """As in pycocotools. Two images of one id are no image."""
    once = read_coco(write_json(coco_document))
    coco_document["images"] += coco_document["images"]
    again = read_coco(write_json(coco_document))
    assert all(
        np.array_equal(getattr(again, f.name), getattr(once, f.name), equal_nan=f.name == "head_box")
        for f in fields(once)[1:]
    )
    for change, found in (({"file_name": "b.jpg"}, "'b.jpg' of 640 x 480"), ({"width": 9}, "'a.jpg' of 9 x 480")):
        document = coco_document | {"images": [*coco_document["images"], coco_document["images"][0] | change]}
        with pytest.raises(
            UserError, match=f"image 7: expected one image of every id, found 'a.jpg' of .*480 and {found}"
        ):
            read_coco(write_json(document))


def test_keypoints_are_matched_by_name_across_order_spelling_and_aliases(coco_document, write_json):
    skeleton = Skeleton("two", ("head_top", "left_shoulder"))
    coco_document["categories"][0]["keypoints"] = ["Left Shoulder", "Head"]
    for annotation in coco_document["annotations"]:
        annotation["keypoints"] = [1, 2, 2, 3, 4, 1]
    people = read_coco(write_json(coco_document), skeleton)
    assert people.keypoints[0].tolist() == [[3, 4], [1, 2]]


def test_all_images_are_listed(coco_document, write_json):
    coco_document["annotations"] = []
    path = write_json(coco_document)
    listing = read_listing(path)
    assert listing.images == {7: ("a.jpg", (640, 480)), 9: ("sub/b.jpg", (50, 60))} and listing.persons == {1}
    assert len(read_coco(path)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("annotations", 0, "keypoints", 3), ["annotation 100", "list of numbers", "found 3"]),
        (("annotations", 0, "image_id", "9"), ["annotation 100", "whole number", "found '9'"]),
        (("annotations", 0, "category_id", []), ["annotations 0", "`category_id`", "found []"]),
        (("images", 0, "file_name", "a/../../b.jpg"), ["image 7", "inside the image folder"]),
        (("images", 0, "file_name", "..\\a.jpg"), ["image 7", "inside the image folder"]),
        (("images", 0, "file_name", "a\nb\0"), ["image 7", "an image file name", r"'a\nb\x00'"]),
        (("categories", 0, "keypoints", ["nose"] * 17), ["categories 0", "`nose` once", "found ['nose'"]),
    ],
)
def test_errors_name_file_entry_expected_and_found(coco_document, refused_words, change, words):
    """More of them are rows of tests/faults/rows_annotations.py."""
    assert refused_words(read_coco, coco_document, change, words) == words


@pytest.mark.parametrize("text", ["", "{", "[1", "\x00\x01", "[" * 100_000, '{"a": NaN}', "1" * 5000, '"x"', "null"])
def test_what_is_no_coco_json_is_an_error_that_names_the_file(write_json, text):
    path = write_json(text)
    for read in (read_coco, read_detections):
        with pytest.raises(UserError, match=r"file\.json") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(coco_document, write_json, literal):
    text = json.dumps(coco_document).replace("30.5", literal)
    with pytest.raises(UserError, match=r"file.json.*expected.*finite.*found"):
        read_coco(write_json(text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: expected a readable file, found No such file"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(UserError, match="directory"):
        read_coco(tmp_path)


def test_detections_keep_people_only(write_json):
    document = [
        {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4.5], "score": 0.25},
        {"image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5},
    ]
    found = read_detections(write_json(document))
    assert found.image_id.tolist() == [3] and found.box.tolist() == [[1, 2, 3, 4.5]] and found.score.tolist() == [0.25]
    assert read_detections(write_json([])).box.shape == (0, 4)
    del document[0]["score"]
    with pytest.raises(UserError, match=r"detection 0: expected `score`, found none"):
        read_detections(write_json(document))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_annotations_are_read_or_refused(coco_document, write_json, damage, data):
    path = write_json(data.draw(damage(coco_document)))
    try:
        people = read_coco(path)
    except UserError as error:
        assert "file.json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(people.box).all() and np.isfinite(people.keypoints).all() and np.isfinite(people.area).all()
        assert len(set(people.person.tolist())) == len(people)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_detections_are_read_or_refused(write_json, damage, data):
    entry = {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4.5], "score": 0.25}
    path = write_json(data.draw(damage([entry, dict(entry)])))
    try:
        found = read_detections(path)
    except UserError as error:
        assert "file.json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(found.box).all() and np.isfinite(found.score).all()


def test_the_real_files(real):
    people = read_coco(real / "coco" / "person_keypoints.json")
    assert (len(people), len(np.unique(people.image)), people.crowd.sum(), people.use.sum()) == (204, 46, 7, 115)
    assert len(read_detections(real / "coco" / "person_detections.json").score) == 646
