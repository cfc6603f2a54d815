import numpy as np
import pytest
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.datasets.mpii_release import read_mpii_release
from pipeline.pose.skeletons import MPII16

EMPTY = np.zeros((0, 0))


def structs(rows):
    """A MATLAB struct array of dicts; fields that a row lacks are empty, as MATLAB has it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for i, row in enumerate(rows):
        for name in names:
            array[0, i][name] = row.get(name, EMPTY)
    return array


def point(identity, x, y, **visible):
    return {"x": x, "y": y, "id": identity, **visible}


def annotated(points, **others):
    return {"annopoints": {"point": structs(points)}, **others}


PLACE = {"scale": 2.0, "objpos": {"x": 101, "y": 201}}
HEAD = {"x1": 11, "y1": 21, "x2": 41, "y2": 61}


@pytest.fixture
def write_release(tmp_path):
    def write(images, training):
        rows = [
            {"image": {"name": name}, "annorect": people if people is EMPTY else structs(people)}
            for name, people in images
        ]
        release = {"annolist": structs(rows), "img_train": np.array([training], np.uint8), "version": "12"}
        savemat(tmp_path / "release.mat", {"RELEASE": release})
        return tmp_path / "release.mat"

    return write


def test_every_trap_of_the_release(write_release):
    several = [point(0, 5, 6, is_visible="0"), point(9, 7.5, 8.5), point(13, 1, 2, is_visible=1)]
    path = write_release(
        [
            ("empty.jpg", EMPTY),
            ("two.jpg", [annotated(several, **HEAD, **PLACE), {**HEAD, **PLACE}]),
            ("test.jpg", [PLACE]),
            ("one.jpg", [annotated([point(6, 50, 60, is_visible="1")], **PLACE)]),
            ("unplaced.jpg", [annotated(several, **HEAD)]),
        ],
        [1, 1, 0, 1, 1],
    )
    people = read_mpii_release(path)
    assert people.skeleton == MPII16
    assert people.image.tolist() == ["two.jpg", "two.jpg", "one.jpg", "unplaced.jpg"]
    assert people.image_id.tolist() == [1, 1, 3, 4]
    assert people.person.tolist() == [100, 101, 300, 400]  # image x 100 + place in the image
    assert people.use.tolist() == [True, False, True, False]
    labelled = [{MPII16.keypoints[k] for k in np.flatnonzero(row)} for row in people.labelled]
    three = {"right_ankle", "head_top", "left_shoulder"}  # the one marked invisible is labelled too
    assert labelled == [three, set(), {"pelvis"}, three]
    assert people.keypoints[0, MPII16.index("right_ankle")].tolist() == [4, 5]
    assert people.keypoints[0, MPII16.index("head_top")].tolist() == [6.5, 7.5]
    assert people.keypoints[2, MPII16.index("pelvis")].tolist() == [49, 59]
    assert people.head_box[0].tolist() == [10, 20, 40, 60] and np.isnan(people.head_box[2]).all()
    # Centre (100, 200), side 400, moved down by 30.
    assert people.box[0].tolist() == [-100, 30, 400, 400] and people.area[0] == 160_000
    assert people.box[3].tolist() == [0, 0, 0, 0]
    assert read_mpii_release(path, "test").image.tolist() == ["test.jpg"]


def test_ids_stay_when_other_images_come_along(write_release):
    person = annotated([point(0, 5, 6)], **PLACE)
    few = read_mpii_release(write_release([("a.jpg", [person]), ("b.jpg", [person])], [0, 1]))
    assert few.person.tolist() == [100] and few.image_id.tolist() == [1]


def test_a_release_without_anyone(write_release):
    people = read_mpii_release(write_release([("a.jpg", EMPTY), ("b.jpg", EMPTY)], [1, 1]))
    assert len(people) == 0 and people.keypoints.shape == (0, 16, 2) and people.head_box.shape == (0, 4)


@pytest.mark.parametrize(
    ("person", "words"),
    [
        (annotated([point(16, 1, 2)]), "annolist 1 person 0: expected point ids 0 to 15, found 16"),
        (annotated([point("x", 1, 2)]), "expected `id` to be a number, found 'x'"),
        (annotated([point(0, np.nan, 2)]), "expected `x` to be a finite number, found nan"),
        (annotated([point(0, EMPTY, 2)]), "expected x and y of right_ankle, found none"),
        ({"scale": [1.0, 2.0]}, "expected `scale` to be a finite number"),
    ],
)
def test_errors_name_file_person_expected_and_found(write_release, person, words):
    path = write_release([("a.jpg", EMPTY), ("b.jpg", [person])], [1, 1])
    with pytest.raises(UserError) as error:
        read_mpii_release(path)
    assert str(path) in str(error.value) and words in str(error.value)


def test_other_files_are_refused(tmp_path, write_release):
    with pytest.raises(UserError, match=r"img_train` for 2 images, found 1"):
        read_mpii_release(write_release([("a.jpg", EMPTY), ("b.jpg", EMPTY)], [1]))
    with pytest.raises(UserError, match=r"img_train` of 0 and 1, found 7"):
        read_mpii_release(write_release([("a.jpg", EMPTY), ("b.jpg", EMPTY)], [1, 7]))
    with pytest.raises(UserError, match="unknown part `val`"):
        read_mpii_release(tmp_path / "release.mat", "val")
    savemat(tmp_path / "foreign.mat", {"a": 1})
    with pytest.raises(UserError, match=r"foreign\.mat: expected the struct `RELEASE`, found none"):
        read_mpii_release(tmp_path / "foreign.mat")
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
    with pytest.raises(UserError, match=r"new\.mat: .*version 7 or older, found version 7\.3 .*save\(name, '-v7'\)"):
        read_mpii_release(tmp_path / "new.mat")


def test_files_cut_short_are_refused(write_release, tmp_path):
    data = write_release([("a.jpg", EMPTY), ("b.jpg", [annotated([point(0, 5, 6)], **PLACE)])], [1, 1]).read_bytes()
    for length in range(1, len(data), 601):
        (tmp_path / "short.mat").write_bytes(data[:length])
        with pytest.raises(UserError, match=r"short\.mat: expected") as error:
            read_mpii_release(tmp_path / "short.mat")
        assert "\n" not in str(error.value)
