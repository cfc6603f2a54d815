"""Boxes from COCO files: which box belongs to which image, and which are left out."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.detection.boxes import Boxes, boxes_inside, read_box_file, refuse_unrelated_images, whole_image_box

PERSON, DOG = {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}


def annotations(*entries: dict[str, Any], names: dict[int, str] | None = None) -> dict[str, Any]:
    images = [{"id": i, "file_name": name} for i, name in (names or {7: "b/x.jpg", 8: "x.jpg"}).items()]
    return {"images": images, "categories": [PERSON, DOG], "annotations": list(entries)}


def box(image: int, x: float, **others: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": [x, 2, 3, 4], **others}


def written(folder: Path, document: Any) -> Path:
    (folder / "boxes.json").write_text(json.dumps(document))
    return folder / "boxes.json"


def test_annotations_are_matched_by_the_end_of_the_path(tmp_path: Path) -> None:
    file = read_box_file(written(tmp_path, annotations(box(7, 1), box(8, 2), box(7, 3, score=0.5))))
    found = {
        path: file.image_id(PurePosixPath(path))
        for path in ("/a/b/x.jpg", "/a/x.jpg", "x.jpg", "/a/bb/x.jpg", "/a/xx.jpg", "/a/x.jpg/y.jpg")
    }
    assert list(found.values()) == [7, 8, 8, 8, None, None]
    assert file.boxes[7].xywh.tolist() == [[1, 2, 3, 4], [3, 2, 3, 4]]
    assert file.boxes[7].score.tolist() == [1, 0.5]
    assert file.image_wh == {7: (0, 0), 8: (0, 0)}


def test_crowds_and_other_classes_are_no_people(tmp_path: Path) -> None:
    crowd, dog = box(8, 1, iscrowd=1), {**box(8, 2), "category_id": 18}
    file = read_box_file(written(tmp_path, annotations(crowd, dog, box(8, 3))))
    assert file.boxes[8].xywh[:, 0].tolist() == [3]
    assert file.image_ids == {7, 8}


def test_people_are_the_category_that_the_file_states_or_the_only_one_there_is(tmp_path: Path) -> None:
    document = annotations({**box(7, 1), "category_id": 5}, {**box(8, 2), "category_id": 18}) | {
        "categories": [DOG, {"id": 5, "name": "person"}]
    }
    detections = [{**box(12, x, score=1), "category_id": 0} for x in (1, 2)]
    for content, person, found, lines in (
        (
            document,
            None,
            [1],
            ["boxes.json: 1 of 2 annotations are left out (1 of category 18): people are category 5"],
        ),
        (document, 18, [2], ["boxes.json: 1 of 2 annotations are left out (1 of category 5): people are category 18"]),
        (detections, None, [1, 2], ["boxes.json: 2 of category 0, the only one there is: taken for people"]),
        (detections, 0, [1, 2], []),
    ):
        warned: list[str] = []
        file = read_box_file(written(tmp_path, content), person, warned.append)
        assert [x for rows in file.boxes.values() for x in rows.xywh[:, 0].tolist()] == found
        assert [line.removeprefix(f"{tmp_path}/") for line in warned] == lines
    for content, message in (
        (detections, r"expected detections of people \(`category_id` 7\), found 2 of category 0"),
        (document, r"expected annotations of people \(category 7\), found 1 of category 5, 1 of category 18"),
    ):
        with pytest.raises(UserError, match=message):
            read_box_file(written(tmp_path, content), 7)


def test_detections_are_matched_by_the_number_that_the_name_ends_with(tmp_path: Path) -> None:
    detections = [box(397133, 1, score=0.9), box(12, 2, score=0.1), {**box(12, 3, score=0.8), "category_id": 18}]
    file = read_box_file(written(tmp_path, detections))
    names = ("000000397133.jpg", "COCO_val2014_000000000012.jpg", "12.png", "13.jpg", "x12y.jpg", "a.jpg")
    assert [file.image_id(PurePosixPath(name)) for name in names] == [397133, 12, 12, None, None, None]
    assert file.boxes[12].score.tolist() == [0.1]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (annotations(box(9, 1)), "expected its `image_id` among `images`, found 9"),
        (annotations(names={1: "x.jpg", 2: "./x.jpg"}), "every `file_name` once"),
        (annotations(names={1: "../x.jpg"}), "a file name inside the image folder"),
        ({"images": []}, "expected `categories`"),
        ([{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}], "`bbox` to hold 4 numbers"),
        ("boxes", "an object with `images`"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as error:
        read_box_file(written(tmp_path, document))
    assert "\n" not in str(error.value)


def test_boxes_outside_the_image_are_named_and_left_out() -> None:
    xywh = np.array(
        [[-5.0, -5, 10, 10], [100, 0, 5, 5], [0, 80, 5, 5], [-9, 0, 9, 5], [5, 5, 0, 5], [99.5, 79.5, 9, 9]]
    )
    warned: list[str] = []
    kept = boxes_inside(Boxes(xywh, np.arange(6.0)), 100, 80, warned.append)
    assert kept.score.tolist() == [0, 5] and kept.xywh.tolist() == xywh[[0, 5]].tolist()
    assert warned == [
        "box [100.0, 0.0, 5.0, 5.0] is outside the 100 x 80 image and left out",
        "box [0.0, 80.0, 5.0, 5.0] is outside the 100 x 80 image and left out",
        "box [-9.0, 0.0, 9.0, 5.0] is outside the 100 x 80 image and left out",
        "box [5.0, 5.0, 0.0, 5.0] is without an area and left out",
    ]


def test_a_file_about_other_images_is_refused(tmp_path: Path) -> None:
    ours = [PurePosixPath("/p/y.jpg"), PurePosixPath("/p/z.jpg")]
    for document, known in ((annotations(box(7, 1)), "/p/x.jpg"), ([box(12, 1, score=1)], "/p/a12.jpg")):
        file = read_box_file(written(tmp_path, document))
        refuse_unrelated_images(file, [*ours, PurePosixPath(known)])
        with pytest.raises(UserError, match=r"none that is 'y\.jpg' or another"):
            refuse_unrelated_images(file, ours)
    refuse_unrelated_images(read_box_file(written(tmp_path, [])), ours)


def test_the_whole_image() -> None:
    assert whole_image_box(640, 480).xywh.tolist() == [[0, 0, 640, 480]]
    assert whole_image_box(640, 480).score.tolist() == [1]


@pytest.mark.parametrize("category", [[1], {}, "1", None, -1])
def test_a_category_that_is_no_number_is_refused(tmp_path: Path, category: Any) -> None:
    person = {"id": 1, "image_id": 1, "category_id": category, "bbox": [1, 2, 3, 4]}
    document = {
        "images": [{"id": 1, "file_name": "a"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [person],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"annotations 0: expected `category_id` to be a whole number"):
        read_box_file(tmp_path / "boxes.json")
