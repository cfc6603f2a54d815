"""`prepare`: tables of people, views and images, for a dataset completely or not at all."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive
from pipeline.people.image_manifest import read_image_manifest
from pipeline.people.images import read_image
from pipeline.pose.skeletons import NO_SKELETON
from stages import prepare
from stages.project.datasets import PEOPLE_FOLDER, load_people, load_views, table_path
from stages.project.project import project_of
from tests.fixtures import CROWD, UNLABELLED, params, tree, with_orientation


def quiet(line: str) -> None:
    pass


def test_what_it_logs(unprepared):
    lines: list[str] = []
    prepare.run(project_of(params()), log=lines.append)
    assert lines[:4] == [
        "coco train: 40 people in use of 42, 11 images",
        "coco train: not in use are 1 crowds (`iscrowd`), 1 without labelled keypoints",
        "coco validation: 8 people in use of 8, 2 images",
        "coco: labelled keypoints of people in use (train, validation)",
    ]
    assert lines[4].split() == ["nose", "40", "8"]
    assert len(lines) == 4 + 17


def test_the_split_is_by_image_and_complete(project):
    train, validation = load_people("coco", "train"), load_people("coco", "validation")
    assert set(validation.image) == {"04.jpg", "06.jpg"}
    assert not set(train.image) & set(validation.image)
    assert sorted([*train.person, *validation.person]) == [*range(48), CROWD, UNLABELLED]
    assert train.person[~train.use].tolist() == [CROWD, UNLABELLED]


def test_views_and_images_belong_to_the_people(project):
    for split, images in (("train", 11), ("validation", 2)):
        people = load_people("coco", split)
        views = load_views("coco", split, people)
        assert views.kinds == ("plain", "strong")
        np.testing.assert_array_equal(views.center[:, 0], people.box[:, :2] + people.box[:, 2:] / 2)
        np.testing.assert_array_equal(views.size[:, 0], people.box[:, 2:])
        assert (views.rotation[:, 0] == 0).all() and np.abs(views.rotation[:, 1]).max() <= 80
        manifest = read_image_manifest(table_path("coco", split, "pictures"))
        assert manifest.name.tolist() == sorted(set(people.image)) and len(manifest.name) == images
        assert manifest.sha256.tolist() == [tree(project / "pictures")[name] for name in manifest.name]


def test_a_second_run_gives_the_same_bytes(project):
    before = tree(project / "data")
    assert len(before) == 6
    prepare.run(project_of(params()), log=quiet)
    assert tree(project / "data") == before


def test_two_at_once_are_refused(project):
    before = tree(project / "data")
    with (
        exclusive(PEOPLE_FOLDER / "coco"),
        pytest.raises(UserError, match=rf"data/people/coco is being written by process {os.getpid()} "),
    ):
        prepare.run(project_of(params()), log=quiet)
    (PEOPLE_FOLDER / "coco.lock").unlink()
    assert tree(project / "data") == before


def test_no_validation(unprepared):
    prepare.run(project_of(params(prepare__validation=0)), log=quiet)
    assert len(load_people("coco", "train")) == 50 and len(load_people("coco", "validation")) == 0


def test_another_seed_draws_other_views_and_another_split(project):
    before = load_views("coco", "train", load_people("coco", "train"))
    prepare.run(project_of(params(seed=1, prepare__validation=0.2)), log=quiet)
    after = load_views("coco", "train", load_people("coco", "train"))
    shared, here, there = np.intersect1d(before.person, after.person, return_indices=True)
    assert len(shared) > 20
    np.testing.assert_array_equal(before.size[here, 0], after.size[there, 0])
    assert (before.size[here, 1] != after.size[there, 1]).any(axis=1).all()


def test_a_test_part_is_not_split(unprepared):
    part = {"file": "train.json", "images": "pictures"}
    prepare.run(project_of(params(datasets__coco__train=None, datasets__coco__test=part)), log=quiet)
    assert len(load_people("coco", "test")) == 50
    assert sorted(p.name for p in (unprepared / "data/people/coco").iterdir()) == [
        f"test-{what}.parquet" for what in ("people", "pictures", "views")
    ]


def test_a_list_of_images_leaves_people_on_others_out(unprepared):
    names = sorted({image["file_name"] for image in json.loads(Path("annotations/train.json").read_text())["images"]})
    Path("some.txt").write_text(f"train2017/{names[0]}\n\n{names[1]}\nabsent.jpg\n")
    part, lines = {**params()["datasets"]["coco"]["train"], "only": "some.txt"}, []
    for name in names[2:]:
        Path("pictures", name).unlink()
    values = params(datasets__coco__train=part, prepare__validation=0)
    prepare.run(project_of(values), log=lines.append)
    assert set(load_people("coco", "train").image.tolist()) == set(names[:2])
    note = "annotations/train.json: people on 2 of the 3 images of some.txt, others are left out"
    assert any(line.endswith(note) for line in lines)
    Path("some.txt").write_text("absent.jpg")
    with pytest.raises(
        UserError, match=r"^some\.txt: expected images of annotations/train\.json, found none among 1 lines"
    ):
        prepare.run(project_of(values), log=lines.append)
    part["detections"] = "found.json"
    with pytest.raises(UserError, match=r"coco\.train\.only: expected none beside `detections`"):
        prepare.run(project_of(params(datasets__coco__train=part)), log=lines.append)


def test_folders_in_a_list_of_images_count(unprepared):
    """Sequences number their frames alike. A list may come from Windows."""
    document = json.loads(Path("annotations/train.json").read_text())
    for n, image in enumerate(document["images"]):
        old, new = image["file_name"], f"{'ab'[n % 2]}/{n // 2}.jpg"
        image["file_name"] = new
        Path("pictures", new).parent.mkdir(exist_ok=True)
        Path("pictures", old).rename(Path("pictures", new))
    Path("annotations/train.json").write_text(json.dumps(document))
    part = params()["datasets"]["coco"]["train"]
    Path("a.txt").write_bytes(b"\xef\xbb\xbfpictures\\a\\0.jpg\r\na\\1.jpg\r\n")
    Path("b.txt").write_text("b/0.jpg\n")
    values = params(
        datasets__coco__train={**part, "only": "a.txt"},
        datasets__coco__test={**part, "only": "b.txt"},
        prepare__validation=0,
    )
    prepare.run(project_of(values), log=quiet)
    assert set(load_people("coco", "train").image.tolist()) == {"a/0.jpg", "a/1.jpg"}
    assert set(load_people("coco", "test").image.tolist()) == {"b/0.jpg"}
    Path("b.txt").write_text("0.jpg\n")
    with pytest.raises(
        UserError, match=r"b.txt: 0.jpg: expected one image of that name, found a/0.jpg and b/0.jpg: list them so"
    ):
        prepare.run(project_of(values), log=quiet)


def test_test_images_that_are_trained_on_are_counted(unprepared):
    part, lines = params()["datasets"]["coco"]["train"], []
    prepare.run(project_of(params(datasets__coco__test=part)), log=lines.append)
    assert any(
        "coco: 13 of 13 test images are trained or validated on, too (first 00.jpg), so scores say how well they are remembered"
        in line
        for line in lines
    )


def test_a_run_that_fails_leaves_the_old_tables(project):
    """So do the runs of tests/faults/rows_annotations.py."""
    before = tree(project / "data/people/coco")
    (project / "pictures/03.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"^pictures/03\.jpg: expected a file with content, found 0 bytes: correct it"):
        prepare.run(project_of(params()), log=quiet)
    assert tree(project / "data/people/coco") == before


def test_one_dataset_of_two(unprepared):
    both = params()
    both["datasets"]["other"] = both["datasets"]["coco"]
    prepare.run(project_of(both), "other", log=quiet)
    assert [path.name for path in (unprepared / "data/people").iterdir()] == ["other"]
    with pytest.raises(UserError, match="unknown dataset `third`: expected one of coco, other"):
        prepare.run(project_of(both), "third", log=quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepare__veiws": 2}, "prepare: unknown key `veiws`: did you mean `views`?"),
        (
            {"datasets__coco__format": "boxes"},
            "datasets.coco.score: expected none, as boxes without labels score no model, found ap",
        ),
        (
            {"datasets__coco__train__box_score": 2},
            "datasets.coco.train.box_score: Input should be less than or equal to 1",
        ),
    ],
)
def test_settings_are_refused_before_anything_is_written(unprepared, changes, message):
    with pytest.raises(UserError, match=r"params\.yaml: ") as error:
        prepare.run(project_of(params(**changes)), log=quiet)
    assert message in str(error.value)
    assert not (unprepared / "data").exists()


def boxes_only(**train):
    """Return the project's dataset without its labels."""
    part = {"file": "train.json", "images": "pictures", **train}
    return params(datasets={"own": {"format": "boxes", "annotations": "annotations", "train": part}})


def test_boxes_only(unprepared):
    lines: list[str] = []
    prepare.run(project_of(boxes_only()), log=lines.append)
    assert lines == [
        "own train: 41 people in use of 42, 11 images",
        "own train: not in use are 1 crowds (`iscrowd`)",
        "own validation: 8 people in use of 8, 2 images",
        "own: boxes without labels: students learn from teachers only",
    ]
    people = load_people("own", "train")
    assert people.skeleton == NO_SKELETON and people.person[~people.use].tolist() == [CROWD]
    views = load_views("own", "train", people)
    # Without labels there is no half body to show: a view is the box, scaled by 0.6 to 1.4 (not yet padded).
    share = views.size[people.use, 1] / people.box[people.use, 2:]
    assert share.min() >= 0.6 and share.max() <= 1.4 and np.ptp(share, axis=1).max() < 1e-9


def test_detected_boxes_only(unprepared):
    found = [{"image_id": n, "category_id": 1, "bbox": [5, 5, 40, 40 + n], "score": n / 10} for n in range(10)]
    (unprepared / "annotations/found.json").write_text(json.dumps(found))
    lines: list[str] = []
    prepare.run(project_of(boxes_only(detections="found.json", box_score=0.5)), log=lines.append)
    tables = [load_people("own", split) for split in ("train", "validation")]
    assert sorted([*tables[0].person, *tables[1].person]) == list(range(10))
    assert sum(table.use.sum() for table in tables) == 5
    # 04.jpg and 06.jpg, scores 0.4 and 0.6.
    assert lines[2] == "own validation: 1 people in use of 2, 2 images"
    assert lines[3] == "own validation: not in use are 1 below the limit of box scores"
    with pytest.raises(UserError, match="expected people to learn from in its train part, found none of 8 usable"):
        prepare.run(project_of(boxes_only(detections="found.json", box_score=1)), log=quiet)


def test_boxes_have_no_test_part(unprepared):
    own = boxes_only()
    own["datasets"]["own"]["test"] = own["datasets"]["own"]["train"]
    with pytest.raises(
        UserError, match=r"datasets\.own\.test: expected none, as boxes without labels score no model: list labelled im"
    ):
        prepare.run(project_of(own), log=quiet)


MPII_JSON = {"format": "mpii", "annotations": "annotations", "score": "pckh"}
AIC_JSON = {"format": "aic-release", "annotations": "annotations", "score": "ap"}


def write_turned(path: Path, upright: np.ndarray, orientation: int) -> None:
    """Write a JPEG that looks like `upright` (H, W, 3) when its EXIF orientation is heeded."""
    back = {
        1: (0, False),
        2: (0, True),
        3: (2, False),
        4: (2, True),
        5: (3, True),
        6: (1, False),
        7: (1, True),
        8: (3, False),
    }
    turns, mirrored = back[orientation]
    stored = np.rot90(upright, turns)
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(stored[:, ::-1] if mirrored else stored))[1].tobytes()
    path.write_bytes(with_orientation(jpeg, orientation))


@pytest.mark.parametrize("wh", [(96, 80), (80, 80)])
@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("format_", ["coco", "mpii", "aic-release"])
def test_every_orientation_is_read_as_the_upright_image(unprepared, wh, stated, format_):
    """Eight files that look alike, as every reader's table has them read; labels are on the image as shown."""
    upright = np.kron(np.arange(wh[0] * wh[1] // 256).reshape(wh[1] // 16, -1) * 8, np.ones((16, 16), int))
    upright = np.repeat(upright[..., None], 3, axis=2).astype(np.uint8)
    for orientation in range(1, 9):
        write_turned(Path(f"pictures/{orientation}.jpg"), upright, orientation)
    size = {"width": wh[0], "height": wh[1]} if stated else {}
    triplets = [40, 40, 2] * 17
    if format_ == "coco":
        document = json.loads(Path("annotations/train.json").read_text())
        document["images"] = [{"id": n, "file_name": f"{n}.jpg", **size} for n in range(1, 9)]
        one = {"category_id": 1, "bbox": [20, 20, 40, 40], "area": 800, "keypoints": triplets}
        document["annotations"] = [{"id": n, "image_id": n, **one} for n in range(1, 9)]
        entry = params()["datasets"]["coco"]
    elif format_ == "mpii":
        joints = {"joints": [[41, 41]] * 16, "joints_vis": [1] * 16, "center": [41, 41], "scale": 0.2}
        document, entry = [{"image": f"{n}.jpg", **joints} for n in range(1, 9)], MPII_JSON
    else:
        person = {"human_annotations": {"h": [20, 20, 60, 60]}, "keypoint_annotations": {"h": [40, 40, 1] * 14}}
        document, entry = [{"image_id": str(n), **person} for n in range(1, 9)], AIC_JSON
    Path("annotations/turned.json").write_text(json.dumps(document))
    part = {"file": "turned.json", "images": "pictures"}
    prepare.run(
        project_of(params(datasets={"d": entry | {"train": part}}, teachers={}, prepare__validation=0)), log=quiet
    )
    people = load_people("d", "train")
    assert people.image_wh.tolist() == [list(wh)] * 8
    for name, size_ in zip(people.image, people.image_wh, strict=True):
        assert np.abs(read_image(f"pictures/{name}", size_).astype(int) - upright).max() <= 3, name


def test_stated_sizes_stay_where_others_are_measured(unprepared):
    """A file stored as 96 x 80 and shown as 80 x 96: stated as stored it is read so, though another image states no size."""
    jpeg = cv2.imencode(".jpg", np.zeros((80, 96, 3), np.uint8))[1].tobytes()
    for name in ("00.jpg", "01.jpg"):
        Path("pictures", name).write_bytes(with_orientation(jpeg, 6))
    document = json.loads(Path("annotations/train.json").read_text())
    del document["images"][1]["width"], document["images"][1]["height"]
    Path("annotations/train.json").write_text(json.dumps(document))
    lines: list[str] = []
    prepare.run(project_of(params(prepare__validation=0)), log=lines.append)
    assert (
        "train.json: 1 images are read as stored, though EXIF turns them" in lines[1]
        and "(first 00.jpg, 96 x 80)" in lines[1]
    )
    people = load_people("coco", "train")
    sizes = {name: people.image_wh[people.image == name][0].tolist() for name in ("00.jpg", "01.jpg")}
    assert sizes == {"00.jpg": [96, 80], "01.jpg": [80, 96]}
    document["images"][1] |= {"file_name": "00.jpg", "width": 80, "height": 96}
    Path("annotations/train.json").write_text(json.dumps(document))
    with pytest.raises(
        UserError, match=r"00\.jpg: expected one size of the image, found 96 x 80 and 80 x 96: correct it"
    ):
        prepare.run(project_of(params()), log=quiet)


def test_what_cannot_be_meant_is_said_after_the_split_or_refused(unprepared):
    document = json.loads(Path("annotations/train.json").read_text())
    document["annotations"][0]["area"] = 0
    document["annotations"][1]["keypoints"][:3] = 0, 0, 2
    Path("annotations/train.json").write_text(json.dumps(document))
    lines: list[str] = []
    prepare.run(project_of(params()), log=lines.append)
    assert lines[1].startswith("annotations/train.json: `area` cannot be meant for 1 of 50 people, who count as having")
    assert "first person 0 in 00.jpg: 0 beside a box of" in lines[1]
    assert (
        "1 of 48 people have labelled keypoints at (0, 0) (first person 1 in 00.jpg: 1 of 17, nose at (0, 0), "
        in lines[2]
    )
    assert lines[4].startswith("coco validation: ")
    before = tree(unprepared / "data")
    for person in document["annotations"]:
        person["bbox"] = [value / 96 for value in person["bbox"]]
    Path("annotations/train.json").write_text(json.dumps(document))
    with pytest.raises(
        UserError, match=r"train\.json: expected boxes x, y, width, height and keypoints in pixels, found .*48 of 48"
    ):
        prepare.run(project_of(params()), log=quiet)
    assert tree(unprepared / "data") == before


COUNTS = {
    "aic": {"right_shoulder": 9, "right_wrist": 8, "left_wrist": 8, "right_knee": 4, "left_ankle": 4, "head_top": 9},
    "crowdpose": {"left_shoulder": 3, "right_shoulder": 4, "left_elbow": 3, "left_ankle": 2, "upper_neck": 4},
}
"""Labelled keypoints in the files, counted by hand."""


@pytest.mark.parametrize(
    ("name", "counts"), [("aic", "9 people in use of 9, 3"), ("crowdpose", "4 people in use of 5, 2")]
)
def test_real_people_of_fourteen_keypoints(real, tmp_path, monkeypatch, name, counts):
    monkeypatch.chdir(tmp_path)
    part = {"file": f"test_{name}.json", "images": str(real / name / "images")}
    dataset = {"format": name, "annotations": str(real / name), "score": "ap", "train": part, "test": part}
    lines: list[str] = []
    prepare.run(project_of(params(datasets={name: dataset}, prepare__validation=0)), log=lines.append)
    assert lines[0] == f"{name} train: {counts} images" and f"{name} test: {counts} images" in lines
    counted = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert len(counted) == 14
    assert {keypoint: counted[keypoint] for keypoint in COUNTS[name]} == {
        keypoint: [str(count), "0", str(count)] for keypoint, count in COUNTS[name].items()
    }
    people = load_people(name, "train")
    assert people.skeleton.own_sigmas and len(load_views(name, "train", people).person) == len(people)
