import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.halpe import read_halpe
from pipeline.pose.skeletons import HALPE26


@pytest.mark.parametrize("count", [136, 26])
def test_the_body_comes_first(coco_document, write_json, count):
    coco_document["categories"][0]["keypoints"] = []
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
    coco_document["categories"][0]["keypoints"] = []
    with pytest.raises(UserError, match=r"file.json: annotation 100: expected 136 or 26 keypoints, found 17"):
        read_halpe(write_json(coco_document))


def test_names_beyond_an_annotations_keypoints_are_refused(coco_document, write_json):
    coco_document["categories"][0]["keypoints"] = [*(f"face_{n}" for n in range(110)), *HALPE26.keypoints]
    for annotation in coco_document["annotations"]:
        annotation["keypoints"] = [0] * 78
    with pytest.raises(
        UserError, match=r"file.json: annotation 100: expected the keypoints that its category lists, found 26"
    ):
        read_halpe(write_json(coco_document))


def as_halpe_writes(name):
    """`left_big_toe` as LBigToe, in the spelling of Halpe's own description of the format."""
    words = name.replace("left_", "l_").replace("right_", "r_").split("_")
    other = {"head_top": "Head", "upper_neck": "Neck", "pelvis": "Hip"}
    return other.get(name) or "".join(word.capitalize() for word in words)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(26)), spelled=st.booleans(), beside=st.booleans())
def test_names_decide_in_any_order_and_spelling(coco_document, write_json, order, spelled, beside):
    """The same person, with the keypoints as Halpe orders them and in another order with their names."""
    triplets = np.column_stack([np.arange(26) + 1, np.arange(26) + 51, np.arange(26) % 3])
    one = coco_document["annotations"][0]
    coco_document["annotations"] = [one | {"keypoints": triplets.ravel().tolist()}]
    coco_document["categories"][0]["keypoints"] = []
    plain = read_halpe(write_json(coco_document))
    more = 110 * beside
    names = [as_halpe_writes(name) if spelled else name for name in np.array(HALPE26.keypoints)[order]]
    coco_document["categories"][0]["keypoints"] = [f"face-{n}" for n in range(more)] + names
    coco_document["annotations"][0]["keypoints"] = [9, 9, 2] * more + triplets[order].ravel().tolist()
    named = read_halpe(write_json(coco_document))
    np.testing.assert_array_equal(named.keypoints, plain.keypoints)
    np.testing.assert_array_equal(named.labelled, plain.labelled)


def test_unknown_names_are_refused(coco_document, write_json):
    coco_document["categories"][0]["keypoints"] = [*HALPE26.keypoints[:-1], "tail"]
    with pytest.raises(
        UserError, match=r"categories 0: expected `right_heel` once among the keypoints, as halpe26 has it"
    ):
        read_halpe(write_json(coco_document))


def test_the_real_sample(real):
    people = read_halpe(real / "halpe" / "test_halpe.json")
    assert (len(people), people.use.sum()) == (14, 12)
    named = ("nose", "head_top", "upper_neck", "pelvis", "left_big_toe", "right_heel")
    assert [int(people.labelled[:, HALPE26.index(k)].sum()) for k in named] == [11, 12, 0, 0, 7, 5]
