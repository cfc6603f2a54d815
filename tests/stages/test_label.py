"""`label`: two teachers that are right, labels that are taken away or falsified, and what comes out as files."""

import contextlib
import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.common.errors import UserError
from pipeline.networks.build import Student, build_network, save_student
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, union
from stages import label, prepare
from stages.label import LabelOptions
from stages.project.project import project_of
from stages.teach import run as teach
from tests.colours import colour_params, make_colour_dataset, save_colour_teacher
from tests.fixtures import make_project, tree
from tests.pipeline.examples import spec

PICTURES, PEOPLE = 4, 2
UNIFIED = union([COCO17, MPII16])
WRIST, ANKLE = COCO17.index("left_wrist"), COCO17.index("right_ankle")
LEFT, RIGHT = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
OFF = 3.7
"""Picture pixels the colour teacher may be off in x or y. Its map pixels are averages over 4 x 4 input pixels, their centres 1.5 from
where `classic` has them, and decoding is to quarters of a map pixel, 1 input pixel; an input pixel is 1.25 x 150 / 128 = 1.46."""
OFF_IN_SQUARE = 4.9
"""The same in MPII's square region of 150: an input pixel is 1.25 x 150 / 96 = 1.95."""
OUT = Path("data/labels/coco-train")
FILE = OUT / "annotations/person_keypoints_train.json"


def two_teachers(**changes: Any) -> dict[str, Any]:
    """The colour teacher as `tiny` and, shown less around the box, as `near`; both keep their check to themselves."""
    params = colour_params(teach__check=0, baselines={"one": {"datasets": ["coco"]}}, **changes)
    params["teachers"]["near"] = {**params["teachers"]["tiny"], "padding": 1.1}
    params["datasets"]["mpii"] = {
        "format": "mpii",
        "annotations": "annotations",
        "score": "pckh",
        "train": {"file": "mpii.json", "images": "pictures"},
    }
    return params


def source() -> dict[str, Any]:
    return json.loads(Path("annotations/train.json").read_text())


def write_falsified() -> np.ndarray:
    """Truth (8, 17, 3), from which person 0 loses a wrist, 2 has shoulders exchanged, 4 an ankle elsewhere and 6 a hidden nose.

    Person 7 is labelled as a crowd.
    """
    document = source()
    truth = np.array([a["keypoints"] for a in document["annotations"]], float).reshape(-1, 17, 3)
    triplets = truth.copy()
    triplets[0, WRIST] = 0
    triplets[2, [LEFT, RIGHT]] = triplets[2, [RIGHT, LEFT]]
    triplets[4, ANKLE, :2] += [-30.5, 30.25]
    triplets[6, 0, 2] = 1
    for annotation, values in zip(document["annotations"], triplets, strict=True):
        annotation["keypoints"] = values.ravel().tolist()
    document["annotations"][7]["iscrowd"] = 1
    Path("annotations/train.json").write_text(json.dumps(document))
    return truth


def write_mpii(truth: np.ndarray) -> None:
    """The same people as MPII has them: counted from 1, without faces, with a neck of its own."""
    people = []
    for row, points in enumerate(truth):
        joints = np.full((16, 2), 40.0)
        for k, name in enumerate(MPII16.keypoints):
            if name in COCO17.keypoints:
                joints[k] = points[COCO17.index(name), :2] + 1
        centre = [5 + (row % PEOPLE) * 120 + 55 + 1, 80 + 1 - 15 * 0.75]
        entry = {"image": f"{row // PEOPLE:02d}.png", "scale": 0.75, "center": centre}
        people.append({**entry, "joints": joints.tolist(), "joints_vis": [1] * 16})
    Path("annotations/mpii.json").write_text(json.dumps(people))


def prepare_and_teach() -> None:
    prepare.run(project_of(two_teachers()), log=lambda line: None)
    for teacher in ("tiny", "near"):
        teach.run(project_of(two_teachers()), teacher, "cpu", log=lambda line: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A folder, prepared and taught, and the true keypoints."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        make_colour_dataset(place, PICTURES, PEOPLE)
        save_colour_teacher(place / "tiny.onnx")
        found = write_falsified()
        write_mpii(found)
        prepare_and_teach()
    return place, found


@pytest.fixture
def truth(made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A copy of it, the current folder; the true keypoints."""
    torch.set_num_threads(1)
    place, found = made
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return found


def run_label(dataset: str = "coco", split: str = "train", params: dict | None = None, **options: Any) -> list[str]:
    lines: list[str] = []
    label.run(project_of(params or two_teachers()), dataset, split, LabelOptions(**options), lines.append)
    return lines


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        run_label(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def people_of(path: Path = FILE) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["annotations"]


def test_labels_stay_to_the_bit_and_the_missing_one_is_filled(truth: np.ndarray) -> None:
    run_label()
    before, after = source()["annotations"], people_of()
    assert [a["person"] for a in after] == list(range(8)) and [a["id"] for a in after] == list(range(1, 9))
    for old, new in zip(before, after, strict=True):
        known = np.array(old["keypoints"]).reshape(17, 3)
        found = np.array(new["keypoints"]).reshape(21, 3)
        labelled = known[:, 2] > 0
        assert (found[:17][labelled] == known[labelled]).all()
        assert [source == "label" for source in new["keypoint_sources"]] == [*labelled, *[False] * 4]
        assert not found[17:].any() and new["bbox"] == old["bbox"] and new["iscrowd"] == old["iscrowd"]
    assert np.array(after[6]["keypoints"])[2] == 1
    wrist = after[0]["keypoints"][3 * WRIST : 3 * WRIST + 3]
    assert wrist[:2] == pytest.approx(truth[0, WRIST, :2], abs=OFF) and wrist[2] == 1
    assert after[0]["keypoint_sources"][WRIST] == "teacher tiny + teacher near"
    assert 0.5 < after[0]["keypoint_confidences"][WRIST] < 1
    assert [a["num_keypoints"] for a in after] == [17] * 8


def test_what_was_falsified_is_found_and_nothing_else(truth: np.ndarray) -> None:
    lines = run_label()
    rows = json.loads((OUT / "suspicious.json").read_text())
    listed = {(row["person"], row["keypoint"], row["suspicion"]) for row in rows}
    exchanged = {(2, side + "_shoulder", "left and right exchanged") for side in ("left", "right")}
    assert listed == exchanged | {(4, "right_ankle", "misplaced")}
    ankle = next(row for row in rows if row["person"] == 4)
    assert (ankle["label_x"], ankle["label_y"]) == tuple(truth[4, ANKLE, :2] + [-30.5, 30.25])
    assert (ankle["seen_x"], ankle["seen_y"]) == pytest.approx(tuple(truth[4, ANKLE, :2]), abs=OFF)
    # The box is 110 x 150: scale 75, ankle's tolerance 2 x 0.089 x 75.
    distance = np.hypot(ankle["label_x"] - ankle["seen_x"], ankle["label_y"] - ankle["seen_y"])
    assert ankle["tolerances"] == pytest.approx(distance / (2 * 0.089 * 75), abs=0.01)
    assert ankle["of_box"] == pytest.approx(distance / 150, abs=1e-4)
    assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)
    with (OUT / "suspicious.csv").open() as stream:
        assert [{k: str(v) for k, v in row.items()} for row in rows] == list(csv.DictReader(stream))
    assert any(line.startswith("3 suspicious labels of 2 people: ") for line in lines)
    sheet = cv2.imread(str(OUT / "suspicious.jpg"))
    assert 3 * 216 < sheet.shape[1] < 3 * 230 and 2 * 288 < sheet.shape[0] < 2 * 340
    run_label(worst=1)
    assert cv2.imread(str(OUT / "suspicious.jpg")).shape[0] < 340


def test_pycocotools_loads_it_and_finds_it_perfect(truth: np.ndarray) -> None:
    run_label()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(FILE))
        results = [
            {**{key: a[key] for key in ("image_id", "category_id", "keypoints")}, "score": 1.0}
            for a in coco.dataset["annotations"]
            if not a["iscrowd"]
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = UNIFIED.sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1.0 and evaluation.stats[5] == 1.0
    assert coco.loadCats([1])[0]["keypoints"] == list(UNIFIED.keypoints)
    assert all((Path("pictures") / image["file_name"]).is_file() for image in coco.dataset["images"])


def test_mpiis_people_get_faces(truth: np.ndarray) -> None:
    run_label("mpii")
    document = json.loads(Path("data/labels/mpii-train/annotations/person_keypoints_train.json").read_text())
    assert document["images"][0] == {"id": 1, "file_name": "00.png", "width": 240, "height": 160}
    for row, person in enumerate(document["annotations"]):
        found = np.array(person["keypoints"]).reshape(21, 3)
        assert (found[5:17, :2] == truth[row, 5:, :2]).all() and (found[5:, 2] == 2).all()
        face = found[:5]
        assert np.abs(face[:, :2] - truth[row, :5, :2]).max() < OFF_IN_SQUARE and (face[:, 2] == 2).all()
        assert all(s.startswith("teacher ") for s in person["keypoint_sources"][:5])
        assert person["keypoint_sources"][5:] == ["label"] * 16 and person["num_keypoints"] == 21


def test_provenance(truth: np.ndarray) -> None:
    run_label(confidence=0.5)
    info = json.loads(FILE.read_text())["info"]
    sha = hashlib.sha256(Path("tiny.onnx").read_bytes()).hexdigest()
    assert info["networks_sha256"] == {"teacher tiny": sha, "teacher near": sha}
    assert info["source_sha256"] == hashlib.sha256(Path("annotations/train.json").read_bytes()).hexdigest()
    assert (info["dataset"], info["split"], info["confidence_above"]) == ("coco", "train", 0.5)


def test_the_threshold_leaves_it_missing_and_unsuspected(truth: np.ndarray) -> None:
    lines = run_label(confidence=0.9999)
    one = people_of()[0]
    assert one["keypoints"][3 * WRIST : 3 * WRIST + 3] == [0, 0, 0] and one["keypoint_sources"][WRIST] == ""
    assert one["num_keypoints"] == 16 and json.loads((OUT / "suspicious.json").read_text()) == []
    assert not (OUT / "suspicious.jpg").exists() and lines[-1].startswith("0 suspicious labels of 0 people")


def test_what_is_anothers_or_of_a_mistaken_person_is_not_filled_in(truth: np.ndarray) -> None:
    """Person 1's wrist is labelled where the networks see person 0's, which is missing; so are person 3's wrists, by side; and
    person 5's labels are all elsewhere, but for a missing wrist. Knees of 2 and 3: exchanged by person, the first 50 px off."""
    document, knee, right = source(), COCO17.index("left_knee"), COCO17.index("right_wrist")
    labels = np.array([a["keypoints"] for a in document["annotations"]], float).reshape(-1, 17, 3)
    labels[1, WRIST] = truth[0, WRIST]
    labels[3, right], labels[3, WRIST] = truth[3, WRIST], 0
    labels[5] = truth[5] + [-60, 0, 0]
    labels[5, WRIST] = 0
    labels[3, knee], labels[2, knee] = truth[2, knee], truth[2, knee] + [50, 0, 0]
    for annotation, values in zip(document["annotations"], labels, strict=True):
        annotation["keypoints"] = values.ravel().tolist()
    Path("annotations/train.json").write_text(json.dumps(document))
    prepare_and_teach()
    run_label()
    for person in (0, 3, 5):
        assert people_of()[person]["keypoint_sources"][WRIST] == "" and people_of()[person]["num_keypoints"] == 16
    listed = {
        (row["person"], row["keypoint"]): row["suspicion"]
        for row in json.loads((OUT / "suspicious.json").read_text())
        if row["person"] != 5
    }
    shoulders = {(2, side + "_shoulder"): "left and right exchanged" for side in ("left", "right")}
    assert listed == shoulders | {
        (1, "left_wrist"): "misplaced",
        (3, "right_wrist"): "on the other side",
        (3, "left_knee"): "misplaced",
        (4, "right_ankle"): "misplaced",
    }


def test_twice_gives_the_same_bytes_and_an_earlier_sheet_goes(truth: np.ndarray) -> None:
    run_label()
    before = tree(OUT)
    assert set(before) == {
        "annotations/person_keypoints_train.json",
        *(f"suspicious.{end}" for end in ("json", "csv", "jpg")),
    }
    run_label()
    assert tree(OUT) == before
    run_label(confidence=0.9999)
    assert set(tree(OUT)) == set(before) - {"suspicious.jpg"}


def test_one_network_alone_suspects_nobody(truth: np.ndarray) -> None:
    params = two_teachers()
    del params["teachers"]["near"]
    lines = run_label(params=params)
    assert lines[-1].startswith(
        "suspicious labels need two networks that agree: list another teacher, or add a student"
    )
    assert people_of()[0]["keypoint_sources"][WRIST] == "teacher tiny"
    assert json.loads((OUT / "suspicious.json").read_text()) == []


def test_a_student_is_asked_as_well(truth: np.ndarray) -> None:
    assert "run `pipeline distill --student one`" in refusal(student="one")
    folder = Path("data/students/one")
    folder.mkdir(parents=True)
    settings = NetworkSettings(width=8, depth=1)
    torch.manual_seed(0)
    wanted = spec(skeleton=UNIFIED, input_wh=(32, 64))
    save_student(Student(build_network(settings, wanted).eval(), settings, wanted), folder, {})
    run_label(student="one", device="cpu", out=Path("elsewhere"))
    document = json.loads(Path("elsewhere/annotations/person_keypoints_train.json").read_text())
    weights = hashlib.sha256((folder / "student.safetensors").read_bytes()).hexdigest()
    assert document["info"]["networks_sha256"]["student one"] == weights
    assert cv2.imread("elsewhere/suspicious.jpg") is None or cv2.imread("elsewhere/suspicious.jpg").shape[1] > 4 * 216


def test_boxes_alone_are_filled_whole(truth: np.ndarray) -> None:
    document = source()
    for annotation in document["annotations"]:
        del annotation["keypoints"]
    Path("annotations/train.json").write_text(json.dumps(document))
    prepare_and_teach()
    lines = run_label()
    one = people_of()[0]
    found = np.array(one["keypoints"]).reshape(21, 3)
    assert np.abs(found[:17, :2] - truth[0, :, :2]).max() < OFF and (found[:17, 2] == 2).all()
    assert one["num_keypoints"] == 17 and "label" not in one["keypoint_sources"]
    assert people_of()[7]["num_keypoints"] == 0  # a crowd, on which no teacher runs
    assert lines[-1].startswith("0 suspicious labels")


def test_wrong_names_and_places_are_refused(truth: np.ndarray) -> None:
    assert refusal("cocoa") == "params.yaml: unknown dataset `cocoa`: expected one of coco, mpii"
    assert refusal("coco", "test") == (
        "dataset coco has no split `test` that teachers run on: expected one of train, validation"
    )
    assert refusal(student="two") == "params.yaml: unknown student `two`: expected one of one"
    Path("file").write_text("")
    assert refusal(out=Path("file")) == (
        "file: expected a folder to write to, found a file: choose another with `--out`"
    )
    params = two_teachers(datasets__coco__train={"file": "person_keypoints_train.json", "images": "pictures"})
    assert refusal("coco", "train", params, out=Path()).endswith(
        "is the dataset's own annotation file: choose another folder with `--out`"
    )
    assert not Path("data/labels").exists()
    assert refusal("coco", "train", two_teachers() | {"teachers": {}}) == (
        "params.yaml: teachers: expected at least one to fill in what labels lack, found none"
    )


def test_an_absent_or_stale_store_names_the_command(truth: np.ndarray) -> None:
    params = two_teachers()
    params["teachers"]["near"]["padding"] = 1.2
    assert refusal("coco", "train", params).endswith("run `pipeline teach --teacher near`")
    Path("data/targets/near/coco-train.zarr/manifest.json").unlink()
    assert refusal() == "data/targets/near/coco-train.zarr: it is not finished: run `pipeline teach --teacher near`"


@pytest.mark.parametrize("key", ["keypoints", "bbox"])
def test_a_changed_annotation_file_names_prepare(truth: np.ndarray, key: str) -> None:
    document = source()
    document["annotations"][0][key][0] += 1
    Path("annotations/train.json").write_text(json.dumps(document))
    assert refusal().endswith("its people are not those of the people table any more: run `pipeline prepare`")


def test_both_splits_of_a_file_have_ids_of_their_own(truth: np.ndarray) -> None:
    """The file counts from 0, which pycocotools takes for no match; the person of that number is in one split alone."""
    found = []
    values = two_teachers(prepare__validation=0.5)
    prepare.run(project_of(values), log=lambda line: None)
    for teacher in ("tiny", "near"):
        teach.run(project_of(values), teacher, "cpu", log=lambda line: None)
    for split in ("train", "validation"):
        run_label("coco", split, values, out=Path("both"))
        document = json.loads(Path(f"both/annotations/person_keypoints_{split}.json").read_text())
        found.append(({a["id"] for a in document["annotations"]}, {i["id"] for i in document["images"]}))
        assert {a["id"] - a["person"] for a in document["annotations"]} == {1}
    assert not found[0][0] & found[1][0] and not found[0][1] & found[1][1]
