import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.datasets.mpii import read_mpii_json, read_mpii_truth
from pipeline.people.people import head_size
from pipeline.pose.skeletons import MPII16

SHORT = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"]
SHORT += ["neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"]


@pytest.fixture
def write_truth(tmp_path):
    """Write a truth file as the official one is laid out: joints 1-based (16, 2, N), head boxes (corner, x or y, N)."""

    def write(joints, missing, boxes, names=SHORT, name="truth.mat"):
        cells = np.empty((1, len(names)), dtype=object)
        cells[0, :] = names
        variables = {
            "dataset_joints": cells,
            "pos_gt_src": np.transpose(np.array(joints, float), (1, 2, 0)),
            "jnt_missing": np.array(missing, np.uint8).T,
            "headboxes_src": np.transpose(np.array(boxes, float).reshape(-1, 2, 2), (1, 2, 0)),
        }
        savemat(tmp_path / name, variables)
        return tmp_path / name

    return write


def truth_of(document):
    joints = np.array([person["joints"] for person in document])
    missing = 1 - np.array([person["joints_vis"] for person in document])
    joints[missing == 1] = 0
    return joints, missing


def test_coordinates_become_0_based(mpii_document, write_json):
    people = read_mpii_json(write_json(mpii_document))
    assert people.skeleton == MPII16
    assert people.person.tolist() == [0, 1] and people.image.tolist() == ["p.jpg", "q.jpg"]
    assert people.image_id.tolist() == [0, 1] and people.image_wh.tolist() == [[0, 0], [0, 0]]
    assert people.keypoints[0, MPII16.index("right_ankle")].tolist() == [100, 200]
    assert people.keypoints[0, MPII16.index("left_wrist")].tolist() == [250, 275]
    # Centre (179, 239), side 200 x 1.5 = 300, moved down by 15 x 1.5 = 22.5.
    assert people.box[0].tolist() == [179 - 150, 239 + 22.5 - 150, 300, 300]
    assert people.area[0] == 90_000
    assert np.isnan(people.head_box).all() and not people.crowd.any()


def test_unlabelled_joints_and_people_without_a_place(mpii_document, write_json):
    people = read_mpii_json(write_json(mpii_document))
    assert people.use.tolist() == [True, False]  # the second has centre (-1, -1)
    assert people.labelled[1].tolist() == [False, True, True, True, True, False] + [True] * 10
    assert people.keypoints[1, 0].tolist() == [0, 0]
    assert people.box[1].tolist() == [0, 0, 0, 0]
    mpii_document[0]["scale"] = -1
    assert not read_mpii_json(write_json(mpii_document)).use.any()


def test_images_are_numbered_by_first_appearance(mpii_document, write_json):
    people = read_mpii_json(write_json([*mpii_document, mpii_document[0]]))
    assert people.image_id.tolist() == [0, 1, 0] and people.person.tolist() == [0, 1, 2]


def test_truth_gives_head_boxes_and_labels(mpii_document, write_json, write_truth):
    joints, missing = truth_of(mpii_document)
    missing[0][MPII16.index("head_top")] = 1
    mat = write_truth(joints, missing, [[11, 21, 41, 61], [1, 2, 3, 4]])
    people = read_mpii_json(write_json(mpii_document), mat)
    assert people.head_box.tolist() == [[10, 20, 40, 60], [0, 1, 2, 3]]
    assert head_size(people.head_box)[0] == pytest.approx(30)  # 0.6 x hypot(30, 40)
    head = MPII16.index("head_top")
    assert not people.labelled[0, head] and people.keypoints[0, head].tolist() == [0, 0]
    truth = read_mpii_truth(mat)
    assert truth.joints.shape == (2, 16, 2) and truth.labelled[0].sum() == 15
    assert truth.joints[0, 0].tolist() == [100, 200] and truth.head_box.tolist() == people.head_box.tolist()


def test_equally_many_people_must_match_by_position(mpii_document, write_json, write_truth):
    joints, missing = truth_of(mpii_document)
    mat = write_truth(joints[::-1], missing[::-1], [[1, 1, 2, 2]] * 2)
    with pytest.raises(
        UserError, match=r"file\.json: person 0: expected its joints as in row 0 of .*truth\.mat, found"
    ):
        read_mpii_json(write_json(mpii_document), mat)


def test_fewer_people_are_found_by_their_joints(mpii_document, write_json, write_truth):
    joints, missing = truth_of(mpii_document)
    boxes = [[1, 1, 5, 5], [2, 2, 6, 6]]
    mat = write_truth(joints[::-1] + 0.4, missing[::-1], boxes)
    people = read_mpii_json(write_json(mpii_document[:1]), mat)
    assert people.head_box.tolist() == [[1, 1, 5, 5]]

    ambiguous = write_truth(joints[[0, 0]], missing[[0, 0]], boxes, name="twice.mat")
    with pytest.raises(UserError, match=r"person 0: expected one person with its joints in .*twice\.mat, found 2"):
        read_mpii_json(write_json(mpii_document[:1]), ambiguous)
    elsewhere = write_truth(joints + 50, missing, boxes, name="else.mat")
    with pytest.raises(UserError, match=r"person 0: expected one person .*else\.mat, found 0"):
        read_mpii_json(write_json(mpii_document[:1]), elsewhere)
    shift = np.array([0, 0, 50])[:, None, None]
    three = write_truth(joints[[0, 1, 1]] + shift, missing[[0, 1, 1]], [*boxes, [3] * 4], name="three.mat")
    with pytest.raises(UserError, match=r"file\.json: expected every person of .* at most once, found one twice"):
        read_mpii_json(write_json([mpii_document[0]] * 2), three)
    with pytest.raises(UserError, match=r"file\.json: expected at most the 2 people of .*truth\.mat, found 3"):
        read_mpii_json(write_json([*mpii_document, mpii_document[0]]), mat)


def test_truth_with_other_joints_or_shapes_is_refused(mpii_document, write_truth, tmp_path):
    joints, missing = truth_of(mpii_document)
    boxes = [[1, 1, 2, 2]] * 2
    swapped = write_truth(joints, missing, boxes, names=[SHORT[5], *SHORT[1:5], SHORT[0], *SHORT[6:]])
    with pytest.raises(
        UserError, match=r"truth\.mat: `dataset_joints`: expected MPII's 16 joints .* found \['left_ankle'"
    ):
        read_mpii_truth(swapped)
    with pytest.raises(UserError, match=r"`jnt_missing`: expected shape \(16, 2\), found \(16, 1\)"):
        read_mpii_truth(write_truth(joints, missing[:1], boxes))
    with pytest.raises(UserError, match=r"`headboxes_src`: expected shape \(2, 2, 2\), found \(2, 2, 1\)"):
        read_mpii_truth(write_truth(joints, missing, boxes[:1]))
    with pytest.raises(UserError, match=r"`headboxes_src`: expected finite"):
        read_mpii_truth(write_truth(joints, missing, [[np.nan] * 4] * 2))
    (tmp_path / "other.mat").write_bytes(b"not a matlab file" * 20)
    with pytest.raises(UserError, match=r"other\.mat: expected a MATLAB file"):
        read_mpii_truth(tmp_path / "other.mat")
    savemat(tmp_path / "foreign.mat", {"a": 1})
    with pytest.raises(UserError, match=r"foreign\.mat: expected `dataset_joints`, found none"):
        read_mpii_truth(tmp_path / "foreign.mat")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("joints", [[1, 2, 3]] * 16, "expected each of `joints` to hold 2 numbers, found 3"),
        ("joints", None, "expected `joints` to hold 16 points, found None"),
        ("joints_vis", [1] * 17, "expected `joints_vis` to hold 16 numbers, found 17"),
        ("center", "x", "expected `center` to be a list of numbers, found 'x'"),
        ("scale", 1e300, "expected `scale` to be a finite number, found 1e+300"),
        ("image", "../p.jpg", "expected a file name inside the image folder, found '../p.jpg'"),
    ],
)
def test_errors_name_file_person_expected_and_found(mpii_document, write_json, key, value, words):
    mpii_document[0][key] = value
    path = write_json(mpii_document)
    with pytest.raises(UserError) as error:
        read_mpii_json(path)
    assert str(error.value).startswith(f"{path}: person 0: ") and words in str(error.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_annotations_are_read_or_refused(mpii_document, write_json, damage, data):
    path = write_json(data.draw(damage(mpii_document)))
    try:
        people = read_mpii_json(path)
    except UserError as error:
        assert "file.json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(people.box).all() and np.isfinite(people.keypoints).all()


def test_the_real_sample_finds_its_rows_in_the_whole_truth(real):
    truth = real / "mpii" / "mpii_gt_val.mat"
    people = read_mpii_json(real / "mpii" / "mpii_val.json", truth)
    assert people.use.all() and people.labelled.sum(axis=1).tolist() == [16, 16, 14, 14, 16]
    # First row by hand: headboxes_src holds (914, 79) and (1031, 237), 1-based.
    assert people.head_box[0] == pytest.approx([913, 78, 1030, 236], abs=1e-4)
    assert people.keypoints[0, MPII16.index("right_ankle")].tolist() == [803, 710]


def test_the_real_truth_as_json_matches_by_position(real, write_json):
    path = real / "mpii" / "mpii_gt_val.mat"
    truth = read_mpii_truth(path)
    assert truth.joints.shape == (2958, 16, 2) and (~truth.labelled).sum() == 3088
    document = [
        {"image": f"{i}.jpg", "joints": j, "joints_vis": v, "center": [9, 9], "scale": 1}
        for i, (j, v) in enumerate(
            zip((truth.joints + 1).round(3).tolist(), (truth.labelled * 1).tolist(), strict=True)
        )
    ]
    people = read_mpii_json(write_json(json.dumps(document)), path)
    assert np.array_equal(people.labelled, truth.labelled) and np.array_equal(people.head_box, truth.head_box)
