"""What the people table leaves out is read again: hidden keypoints, other fields; and a file that has changed is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_coco
from pipeline.datasets.halpe import read_halpe
from pipeline.datasets.mpii_release import read_mpii_release
from pipeline.labelling.source import coco_annotations, default_annotations, mpii_release_annotations
from pipeline.pose.skeletons import COCO17, HALPE26, MPII16
from tests.pipeline.examples import people


def document(triplets: list[float], names: list[str] | None = None) -> dict:
    one = {"id": 7, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 50.5, "iscrowd": 0, "colour": "red"}
    return {
        "licenses": [{"id": 4, "name": "free"}],
        "images": [{"id": 3, "file_name": "a.jpg", "width": 20, "height": 10, "license": 4}],
        "categories": [
            {"id": 1, "name": "person", **({"keypoints": names} if names else {})},
            {"id": 2, "name": "dog"},
        ],
        "annotations": [
            {"id": 6, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1]},
            {**one, "keypoints": triplets, "num_keypoints": 3},
            {**one, "id": 8, "keypoints": None},
        ],
    }


def written(folder: Path, content: dict) -> Path:
    (folder / "some.json").write_text(json.dumps(content))
    return folder / "some.json"


def test_a_coco_file(tmp_path: Path) -> None:
    triplets = [1, 2, 1, 3.25, 4, 2, 9, 9, 0, *[0] * 39, 5, 6, 1]
    path = written(tmp_path, document(triplets))
    source = coco_annotations(path, read_coco(path))
    assert source.visibility.tolist() == [[1, 2, *[0] * 14, 1], [0] * 17]
    assert [entry["id"] for entry in source.annotations] == [7, 8] and source.annotations[0]["colour"] == "red"
    assert source.images[3]["license"] == 4 and source.licenses == [{"id": 4, "name": "free"}]


@pytest.mark.parametrize(
    ("third", "expected"),
    [([1, 2, 0], [1, 2, 0]), ([0.93, 1, 0], [2, 2, 0]), ([0.3, 1.0, -1], [2, 2, 0]), ([3, 1e-9, 0], [2, 2, 0])],
)
def test_confidences_in_place_of_v_are_labels_that_do_not_tell(
    tmp_path: Path, third: list[float], expected: list[int]
) -> None:
    path = written(tmp_path, document([1, 2, third[0], 3, 4, third[1], 5, 6, third[2], *[0] * 42]))
    table = read_coco(path)
    assert table.labelled[0, :3].tolist() == [v > 0 for v in expected]
    assert coco_annotations(path, table).visibility[0, :3].tolist() == expected


def test_visibility_follows_the_names(tmp_path: Path) -> None:
    path = written(tmp_path, document([1, 2, 1, *[0] * 48], list(COCO17.keypoints[::-1])))
    source = coco_annotations(path, read_coco(path))
    assert source.visibility[0].tolist() == [0] * 16 + [1]


def test_halpes_file_is_read_by_its_names_or_by_position(tmp_path: Path) -> None:
    named = document([1, 2, 1, 3, 4, 2, *[0] * 72], list(HALPE26.keypoints[::-1]))
    path = written(tmp_path, named)
    assert coco_annotations(path, read_halpe(path)).visibility[0].tolist() == [*[0] * 24, 2, 1]
    path = written(tmp_path, document([1, 2, 1, 3, 4, 2, *[0] * 402]))
    assert coco_annotations(path, read_halpe(path)).visibility[0].tolist() == [1, 2, *[0] * 24]


@pytest.mark.parametrize("change", [[1.5, 2, 1], [1, 2, 0]])
def test_a_file_that_has_changed_since_is_refused(tmp_path: Path, change: list[float]) -> None:
    path = written(tmp_path, document([1, 2, 1, *[5, 5, 2] * 16]))
    before = read_coco(path)
    written(tmp_path, document([*change, *[5, 5, 2] * 16]))
    with pytest.raises(UserError, match="not those of the people table any more: run `pipeline prepare`"):
        coco_annotations(path, before)
    written(tmp_path, {**document([1, 2, 1, *[5, 5, 2] * 16]), "annotations": []})
    with pytest.raises(UserError, match="not those of the people table"):
        coco_annotations(path, before)


def structs(rows: list[dict]) -> np.ndarray:
    """A MATLAB struct array of dicts with the same keys."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[0, i][name] = value
    return array


def test_mpiis_release_says_what_is_hidden(tmp_path: Path) -> None:
    empty = np.zeros((0, 0))
    points = [(0, "0"), (1, "1"), (6, 0), (9, empty)]
    point = structs([{"x": 5 + k, "y": 6, "id": k, "is_visible": visible} for k, visible in points])
    person = {"annopoints": {"point": point}, "scale": 2.0, "objpos": {"x": 101, "y": 201}}
    image = {"image": {"name": "a.jpg"}, "annorect": structs([person])}
    release = {"annolist": structs([image]), "img_train": np.array([[1]], np.uint8)}
    path = tmp_path / "release.mat"
    savemat(path, {"RELEASE": release})
    table = read_mpii_release(path)
    visibility = mpii_release_annotations(path, table).visibility[0]
    found = {MPII16.keypoints[k]: int(visibility[k]) for k in np.flatnonzero(visibility)}
    assert found == {"right_ankle": 1, "right_knee": 2, "pelvis": 1, "head_top": 2}
    savemat(path, {"RELEASE": {"annolist": empty, "img_train": empty}})
    with pytest.raises(UserError, match="not those of the people table"):
        mpii_release_annotations(path, table)


def test_a_format_that_says_nothing_more() -> None:
    table = people(2)
    table.labelled[1, 3] = False
    source = default_annotations(table)
    assert source.visibility.sum() == 2 * 33 and source.visibility[1, 3] == 0
    assert list(source.annotations) == [{}, {}]
