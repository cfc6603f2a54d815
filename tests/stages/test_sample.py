import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive
from pipeline.pose.skeletons import COCO17, MPII16
from stages import sample
from stages.sample import SampleSettings, run, write_image_digest

SMALL = dict(size=96, train=14, test=6)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "sample"
    run(SampleSettings(folder=str(folder), workers=2, **SMALL))
    return folder


def load(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def triples(annotation: dict) -> np.ndarray:
    return np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)


def test_the_same_bytes_whatever_the_workers(drawn, tmp_path):
    run(SampleSettings(folder=str(tmp_path / "sample"), workers=1, **SMALL))
    assert digests(tmp_path / "sample") == digests(drawn)
    images, annotations, image_digests = 2 * 14 + 3 * 6, 6, 3
    assert len(digests(drawn)) == images + annotations + image_digests


def test_new_images_change_a_file_beside_the_annotations(drawn):
    """DVC watches the annotation folders, not the images."""
    before = (drawn / "halpe/annotations/pictures.sha256").read_text()
    image = next((drawn / "halpe/val").iterdir())
    content = image.read_bytes()
    image.write_bytes(content + b"\0")
    write_image_digest(drawn / "halpe")
    assert (drawn / "halpe/annotations/pictures.sha256").read_text() != before
    image.write_bytes(content)
    write_image_digest(drawn / "halpe")
    assert (drawn / "halpe/annotations/pictures.sha256").read_text() == before


def test_a_image_does_not_depend_on_how_many_there_are_and_does_on_the_seed(drawn, tmp_path):
    run(SampleSettings(folder=str(tmp_path / "fewer"), workers=1, **SMALL | dict(train=2, test=1)))
    run(SampleSettings(folder=str(tmp_path / "other"), workers=1, seed=2, **SMALL | dict(train=2, test=1)))
    fewer, other, full = digests(tmp_path / "fewer"), digests(tmp_path / "other"), digests(drawn)
    images = [name for name in fewer if name.endswith(".jpg")]
    assert len(images) == 7
    assert all(fewer[name] == full[name] for name in images)
    assert all(fewer[name] != other[name] for name in images)


def test_says_one_line(tmp_path, capsys):
    run(SampleSettings(folder=str(tmp_path / "sample"), workers=1, **SMALL | dict(train=1, test=1)))
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "5 images" in out


@pytest.mark.parametrize("part", ["train", "val"])
def test_coco_file(drawn, part):
    content = load(drawn, f"coco/annotations/person_keypoints_{part}.json")
    assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
    assert content["categories"][0]["keypoints"] == list(COCO17.keypoints)
    assert content["categories"][0]["skeleton"][:4] == [[16, 14], [14, 12], [17, 15], [15, 13]]
    assert len(content["categories"][0]["skeleton"]) == 19
    assert len(content["images"]) == (14 if part == "train" else 6)
    images = {image["id"]: image for image in content["images"]}
    for image in images.values():
        assert cv2.imread(str(drawn / "coco" / part / image["file_name"])).shape == (image["height"], image["width"], 3)
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert len(set(ids)) == len(ids) and min(ids) > 0
    for annotation in content["annotations"]:
        points = triples(annotation)
        assert points.shape == (17, 3) and annotation["image_id"] in images
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        assert (points[points[:, 2] == 0] == 0).all()
        assert set(points[:, 2]) <= {0, 1, 2}
        left, top, width, height = annotation["bbox"]
        assert min(left, top) >= 0 and left + width <= 96 and top + height <= 96
        assert 0 < annotation["area"] <= width * height or annotation["iscrowd"]


def test_training_and_test_ids_differ(drawn):
    train, val = (load(drawn, f"coco/annotations/person_keypoints_{part}.json") for part in ("train", "val"))
    for key in ("images", "annotations"):
        assert not {entry["id"] for entry in train[key]} & {entry["id"] for entry in val[key]}


def test_mpii_json_and_mat_are_row_by_row_the_same(drawn):
    people = load(drawn, "mpii/annotations/mpii_val.json")
    truth = scipy.io.loadmat(drawn / "mpii/annotations/mpii_gt_val.mat")
    assert truth["pos_gt_src"].shape == (16, 2, len(people)) and truth["headboxes_src"].shape == (2, 2, len(people))
    for n, person in enumerate(people):
        seen = np.array(person["joints_vis"]) == 1
        np.testing.assert_array_equal(truth["jnt_missing"][:, n] == 0, seen)
        np.testing.assert_array_equal(truth["pos_gt_src"][seen, :, n], np.array(person["joints"])[seen])
        assert (truth["pos_gt_src"][~seen, :, n] == 0).all() and (np.array(person["joints"])[~seen] == -1).all()
        first, last = truth["headboxes_src"][:, :, n]
        assert (last > first + 2).all()
        head_top = np.array(person["joints"][MPII16.index("head_top")])
        assert seen[MPII16.index("head_top")]
        assert (head_top >= first - 0.01).all() and (head_top <= last + 0.01).all()


def test_mpii_names_in_the_mat_are_the_real_ones(drawn):
    truth = scipy.io.loadmat(drawn / "mpii/annotations/mpii_gt_val.mat")
    names = " ".join(str(name[0]) for name in truth["dataset_joints"][0])
    assert names == "rank rkne rhip lhip lkne lank pelv thor neck head rwri relb rsho lsho lelb lwri"


@pytest.mark.parametrize("part", ["train", "val"])
def test_mpii_people(drawn, part):
    for person in load(drawn, f"mpii/annotations/mpii_{part}.json"):
        assert (drawn / "mpii/images" / person["image"]).is_file()
        seen = np.array(person["joints_vis"]) == 1
        joints = np.array(person["joints"])[seen]
        assert ((joints >= 1) & (joints <= 96)).all(), "1-based"
        side, centre = 200 * person["scale"], np.add(person["center"], (0, 15 * person["scale"]))
        assert (np.abs(joints - centre) <= side / 2).all(), "the square covers the person"


def test_halpe_file(drawn):
    content = load(drawn, "halpe/annotations/halpe_val.json")
    assert content["categories"][0]["keypoints"] == [] and len(content["images"]) == 6
    labelled = np.zeros(26, dtype=bool)
    for annotation in content["annotations"]:
        points = triples(annotation)
        assert points.shape == (136, 3) and (points[26:] == 0).all()
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        labelled |= points[:26, 2] > 0
    assert labelled.all(), "a test set that knows all 26"
    assert all((drawn / "halpe/val" / image["file_name"]).is_file() for image in content["images"])


def test_fields_are_those_of_the_real_files(drawn, real):
    for ours, official in (
        ("coco/annotations/person_keypoints_val.json", "coco/person_keypoints.json"),
        ("halpe/annotations/halpe_val.json", "halpe/test_halpe.json"),
    ):
        mine, theirs = load(drawn, ours), load(real, official)
        assert set(mine["annotations"][0]) == set(theirs["annotations"][0])
        assert {"id", "file_name", "width", "height"} <= set(mine["images"][0])
        assert len(mine["annotations"][0]["keypoints"]) == len(theirs["annotations"][0]["keypoints"])
    real_category, our_category = (
        load(folder, name)["categories"][0]
        for folder, name in (
            (real, "coco/person_keypoints.json"),
            (drawn, "coco/annotations/person_keypoints_val.json"),
        )
    )
    assert our_category == real_category
    assert set(load(drawn, "mpii/annotations/mpii_val.json")[0]) == set(load(real, "mpii/mpii_val.json")[0])
    mine, theirs = (
        scipy.io.loadmat(path) for path in (drawn / "mpii/annotations/mpii_gt_val.mat", real / "mpii/mpii_gt_val.mat")
    )
    for name in ("jnt_missing", "pos_gt_src", "headboxes_src", "dataset_joints"):
        assert mine[name].dtype == theirs[name].dtype and mine[name].shape[:-1] == theirs[name].shape[:-1]


@pytest.mark.parametrize(
    "wrong",
    [
        dict(size=63),
        dict(size=1025),
        dict(train=0),
        dict(test=-1),
        dict(mixing=1.5),
        dict(mixing="much"),
        dict(workers=-1),
        dict(seed=-1),
        dict(train=2.5),
        dict(folder=""),
        dict(folder=".."),
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))) as error:
        SampleSettings(**wrong)
    assert "\n" not in str(error.value)


def test_an_interrupted_run_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "sample"
    settings = SampleSettings(folder=str(folder), workers=1, **SMALL | dict(train=1, test=1))
    run(settings)
    before = digests(folder)
    with monkeypatch.context() as patch:
        patch.setattr(sample, "write_annotations", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    assert digests(folder) == before
    run(SampleSettings(folder=str(folder), workers=1, seed=3, **SMALL | dict(train=1, test=1)))
    assert digests(folder) != before and set(digests(folder)) == set(before)
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_two_at_once_are_refused(tmp_path):
    folder = tmp_path / "sample"
    with exclusive(folder), pytest.raises(UserError, match=f"{folder} is being written by process"):
        run(SampleSettings(folder=str(folder), workers=1, size=64, train=1, test=1))
    assert [path.name for path in tmp_path.iterdir()] == ["sample.lock"]


def test_a_folder_that_is_not_a_sample_is_not_deleted(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        run(SampleSettings(folder=str(tmp_path), workers=1, **SMALL))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
