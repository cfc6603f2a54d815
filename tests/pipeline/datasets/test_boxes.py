import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.boxes import read_boxes
from pipeline.pose.skeletons import NO_SKELETON


@pytest.fixture
def detections():
    """Two people on an image of the file, a dog, and somebody on another image."""
    return [
        {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4.5], "score": 0.25},
        {"image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 9, "category_id": 1, "bbox": [5, 6, 7, 8], "score": 0.75},
    ]


def test_annotations_are_boxes_and_their_keypoints_are_not_read(coco_document, write_json):
    coco_document["annotations"][0]["keypoints"] = [1, 2]  # no keypoints of any skeleton
    people = read_boxes(write_json(coco_document))
    assert people.skeleton == NO_SKELETON
    assert people.person.tolist() == [100, 101, 102]  # the dog is left out
    assert people.box.tolist() == [[1.5, 2, 30, 40], [0, 0, 9, 9], [0, 0, 9, 8]]
    assert people.crowd.tolist() == [False, True, False] and people.use.tolist() == [True, False, True]
    assert people.keypoints.shape == (3, 0, 2) and people.labelled.shape == (3, 0)
    assert people.image_wh.tolist() == [[50, 60], [640, 480], [640, 480]]


def test_nobody_learns_from_a_box_that_is_empty_or_scored_low(coco_document, write_json):
    coco_document["annotations"][0]["bbox"] = [1, 2, 0, 4]
    coco_document["annotations"][1] |= {"iscrowd": 0, "score": 0.3}
    path = write_json(coco_document)
    assert read_boxes(path, min_score=0.3).use.tolist() == [False, True, True]
    assert read_boxes(path, min_score=0.31).use.tolist() == [False, False, True]


def test_a_file_without_categories_has_people_only(coco_document, write_json):
    del coco_document["categories"]
    del coco_document["annotations"][0]["category_id"]
    people = read_boxes(write_json(coco_document))
    assert people.person.tolist() == [100, 101, 102, 103]
    with pytest.raises(UserError, match="expected `categories`, to know which are worker, found none"):
        read_boxes(write_json(coco_document), people=("worker",))


def test_detections_stand_in_for_annotations(coco_document, detections, write_json):
    coco_document["annotations"] = []
    people = read_boxes(write_json(coco_document), write_json(detections, "found.json"), min_score=0.5)
    assert people.person.tolist() == [0, 2]  # positions among the people of the list
    assert people.box.tolist() == [[1, 2, 3, 4.5], [5, 6, 7, 8]] and people.area.tolist() == [13.5, 56]
    assert people.image.tolist() == ["sub/b.jpg"] * 2 and people.image_wh.tolist() == [[50, 60]] * 2
    assert people.use.tolist() == [False, True]


def test_the_category_of_people_is_the_files_and_others_are_told(coco_document, detections, write_json):
    coco_document["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}]
    coco_document["annotations"][3]["category_id"] = 2
    lines: list[str] = []
    images = write_json(coco_document)
    assert read_boxes(images, warn=lines.append).person.tolist() == [103]
    assert read_boxes(images, write_json(detections, "found.json"), warn=lines.append).person.tolist() == [0]
    assert [line.split(": ", 1)[1] for line in lines] == [
        "3 of 4 annotations are left out (3 of category 1): people are category 2",
        "3 of 4 detections are left out (3 of category 1): people are category 2",
    ]
    del coco_document["categories"]  # then the list alone tells: 1, or the only one there is
    images, lines = write_json(coco_document), []
    assert read_boxes(images, write_json(detections, "found.json")).person.tolist() == [0, 2]
    others = [detection | {"category_id": 0} for detection in detections]
    assert len(read_boxes(images, write_json(others, "found.json"), warn=lines.append)) == 3
    assert lines[0].endswith("4 of category 0, the only one there is: taken for people")
    with pytest.raises(
        UserError, match=r"expected detections of people .`category_id` 1., found 3 of category 0, 1 of category 2"
    ):
        read_boxes(images, write_json([*others[:3], detections[1]], "found.json"))


def test_no_detection_on_these_images_is_nobody(coco_document, detections, write_json):
    people = read_boxes(write_json(coco_document), write_json(detections[2:3], "found.json"))
    assert len(people) == 0 and people.box.shape == (0, 4) and people.image_wh.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, 3]}, ["file.json: annotation 100", "`bbox` to hold 4", "found 3"]),
        ({"score": "high"}, ["file.json: annotation 100", "`score` to be a finite number", "found 'high'"]),
        ({"image_id": 5}, ["file.json: annotation 100", "its `image_id` among `images`", "found 5"]),
    ],
)
def test_errors_name_file_entry_expected_and_found(coco_document, write_json, change, words):
    coco_document["annotations"][0] |= change
    with pytest.raises(UserError) as error:
        read_boxes(write_json(coco_document))
    assert [word for word in words if word not in str(error.value)] == [] and "\n" not in str(error.value)


def test_a_list_alone_names_no_images(detections, write_json):
    with pytest.raises(UserError, match=r"file.json: expected an object with `categories`, found"):
        read_boxes(write_json(detections))
    with pytest.raises(UserError, match=r"file.json: expected an object with `images`, found"):
        read_boxes(write_json(detections), write_json(detections, "found.json"))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(coco_document, detections, write_json, damage, data):
    left_out = data.draw(st.sampled_from(["categories", "info"]))
    document = {key: value for key, value in coco_document.items() if key != left_out}
    path = write_json(data.draw(damage(document)))
    found = write_json(data.draw(damage(detections)), "found.json") if data.draw(st.booleans()) else None
    try:
        people = read_boxes(path, found, min_score=0.3)
    except UserError as error:
        assert ".json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(people.box).all() and (people.box[people.use, 2:] > 0).all()
        assert len(set(people.person.tolist())) == len(people) == len(people.image)


def test_the_real_files(real):
    people = read_boxes(real / "coco/person_keypoints.json")
    assert (len(people), people.crowd.sum(), people.use.sum()) == (204, 7, 197)
    found = read_boxes(real / "coco/person_keypoints.json", real / "coco/person_detections.json", min_score=0.3)
    assert (len(found), len(np.unique(found.image)), found.use.sum()) == (646, 18, 223)
