"""The COCO document of filled people: numbers untouched, sources beside them, ids that pycocotools can match."""

from dataclasses import replace

import numpy as np

from pipeline.labelling.document import filled_document
from pipeline.labelling.fill import LABEL_SOURCE, NO_SOURCE, FilledPeople
from pipeline.labelling.source import SourceAnnotations, default_annotations
from pipeline.pose.skeletons import COCO17, MPII16, union
from tests.pipeline.examples import people

UNIFIED = union([COCO17, MPII16])
EYE, TOP = UNIFIED.index("left_eye"), UNIFIED.index("head_top")


def filled(table) -> FilledPeople:
    """Labels of all but the first person's left eye, which is from `teacher coco`, and everybody's head top, from `teacher mpii`."""
    n = len(table)
    keypoints = np.concatenate([table.keypoints, np.zeros((n, 4, 2))], axis=1)
    source = np.full((n, 21), LABEL_SOURCE, object)
    source[:, 17:] = NO_SOURCE
    source[0, EYE], source[:, TOP] = "teacher coco", "teacher mpii"
    keypoints[0, EYE], keypoints[:, TOP] = [10.126, 11.0], [20.0, 21.4449]
    confidence = np.where(source == LABEL_SOURCE, 1.0, np.where(source == NO_SOURCE, 0.0, 0.76543))
    return FilledPeople(keypoints, confidence, source)


def test_labels_keep_their_numbers_and_filled_ones_say_where_from() -> None:
    table = people(2)
    table.keypoints[0, 0] = [1 / 3, 40.0]
    table.labelled[0, EYE] = False
    source = default_annotations(table)
    source.visibility[0, 0] = 1
    counted: list[int] = []
    document = filled_document(table, source, filled(table), UNIFIED, {"made_by": "us"}, advance=counted.append)
    one = document["annotations"][0]
    triplets = np.array(one["keypoints"]).reshape(21, 3)
    assert triplets[0].tolist() == [1 / 3, 40, 1] and isinstance(one["keypoints"][1], int)
    others = [k for k in range(17) if k != EYE]
    assert (triplets[others, :2] == table.keypoints[0, others]).all() and (triplets[others[1:], 2] == 2).all()
    assert triplets[EYE].tolist() == [10.13, 11, 1]  # the dataset labels eyes, and left this one out
    assert triplets[TOP].tolist() == [20, 21.44, 2]  # it never labels the head top
    assert triplets[17:20].tolist() == [[0, 0, 0]] * 3
    assert one["num_keypoints"] == 18
    assert one["keypoint_sources"] == [
        *["label"], "teacher coco", *["label"] * 15, "", "", "", "teacher mpii",
    ]  # fmt: skip
    assert one["keypoint_confidences"] == [1, 0.7654, *[1] * 15, 0, 0, 0, 0.7654]
    assert document["info"] == {"made_by": "us"} and counted == [1, 1]
    (category,) = document["categories"]
    assert category["keypoints"] == list(UNIFIED.keypoints) and [1, 2] in category["skeleton"]


def test_ids_are_moved_away_from_zero() -> None:
    table = people(3)
    document = filled_document(table, default_annotations(table), filled(table), UNIFIED, {}, (0, 1))
    assert [a["id"] for a in document["annotations"]] == [100, 107, 114]
    assert [a["image_id"] for a in document["annotations"]] == [1, 1, 2]  # the table has 0, 0, 1
    assert [(i["id"], i["file_name"]) for i in document["images"]] == [(1, "000.png"), (2, "001.png")]
    moved = replace(table, person=np.array([0, 4, 5]), image_id=np.array([9, 9, 12]))
    document = filled_document(moved, default_annotations(moved), filled(moved), UNIFIED, {}, (1, 0))
    assert [(a["id"], a["person"]) for a in document["annotations"]] == [(1, 0), (5, 4), (6, 5)]
    assert [i["id"] for i in document["images"]] == [9, 12]


def test_other_fields_are_the_sources() -> None:
    table = people(1)
    entry = {"id": 100, "category_id": 5, "segmentation": [[1, 2, 3, 4, 5, 6]], "bbox": [1, 2, 3, 4], "colour": "red"}
    image = {"id": 0, "file_name": "x", "license": 3}
    source = SourceAnnotations(default_annotations(table).visibility, [entry], {0: image}, [{"id": 3}])
    document = filled_document(table, source, filled(table), UNIFIED, {}, (0, 1))
    (one,), (image,) = document["annotations"], document["images"]
    assert one["segmentation"] == [[1, 2, 3, 4, 5, 6]] and one["bbox"] == [1, 2, 3, 4] and one["colour"] == "red"
    assert one["category_id"] == 1 and one["area"] == table.area[0] and one["iscrowd"] == 0
    assert image == {"id": 1, "file_name": "000.png", "license": 3, "width": 300, "height": 200}
    assert document["licenses"] == [{"id": 3}]


def test_of_boxes_alone_nothing_was_left_out() -> None:
    table = people(1)
    table.labelled[:] = False
    found = filled(table)
    found.source[found.source == LABEL_SOURCE] = "teacher coco"
    (one,) = filled_document(table, default_annotations(table), found, UNIFIED, {})["annotations"]
    assert set(one["keypoints"][2::3]) == {0, 2} and one["num_keypoints"] == 18
