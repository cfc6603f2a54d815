import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.halpe import read_halpe
from pipeline.pose.skeletons import HALPE26


@pytest.mark.parametrize("count", [136, 26])
def test_the_body_comes_first(coco_document, write_json, count):
    coco_document["categories"] = [{"id": 1, "name": "person", "keypoints": []}]
    triplets = np.zeros((count, 3))
    triplets[HALPE26.index("left_heel")] = 3.25, 4.5, 2
    triplets[26:] = 9, 9, 2
    for annotation in coco_document["annotations"]:
        annotation["keypoints"] = triplets.ravel().tolist()
    people = read_halpe(write_json(coco_document))
    assert people.skeleton == HALPE26 and people.keypoints.shape == (3, 26, 2)
    assert people.keypoints[0, HALPE26.index("left_heel")].tolist() == [3.25, 4.5]
    assert people.labelled.sum(axis=1).tolist() == [1, 1, 1]


def test_another_number_of_keypoints_is_refused(coco_document, write_json):
    with pytest.raises(UserError, match=r"file.json: annotation 100: expected 136 or 26 keypoints, found 17"):
        read_halpe(write_json(coco_document))


def test_the_real_sample(real):
    people = read_halpe(real / "halpe" / "test_halpe.json")
    assert (len(people), people.use.sum()) == (14, 12)
    named = ("nose", "head_top", "upper_neck", "pelvis", "left_big_toe", "right_heel")
    assert [int(people.labelled[:, HALPE26.index(k)].sum()) for k in named] == [11, 12, 0, 0, 7, 5]
