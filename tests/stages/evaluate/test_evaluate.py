"""`evaluate`: what is written and printed for models whose scores are known, and nothing where nothing should be."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.export.onnx_export import export_onnx
from pipeline.metrics.coco_ap import keypoint_ap
from pipeline.networks.build import Student, build_network, save_student
from pipeline.people.table import write_people
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, union
from stages import prepare
from stages.evaluate import run as evaluate
from stages.evaluate import score_model, score_predictions
from stages.evaluate.poses import read_poses
from stages.project.datasets import load_people, table_path
from stages.project.project import project_of
from tests.colours import colour_params, make_colour_dataset, save_colour_teacher
from tests.fixtures import make_project
from tests.pipeline.examples import people, spec

PICTURES, PEOPLE = 8, 2


def with_test_part(**changes: Any) -> dict[str, Any]:
    """The colour teacher, two untrained students, and the same images to train on and to be tested on."""
    part = {"file": "train.json", "images": "pictures"}
    detected = {**part, "detections": "boxes.json"}
    students = {"students": {"one": {"datasets": ["coco"]}}, "baselines": {"two": {"datasets": ["coco"]}}}
    return colour_params(datasets__coco__test=detected, evaluate={"resamples": 40}, **students, **changes)


def write_boxes(folder: Path, images: int) -> None:
    """The annotated boxes of the first so many images, each once more one pixel to the right; scores fall by image."""
    people = json.loads((folder / "annotations/train.json").read_text())["annotations"]
    boxes = [
        {
            "image_id": p["image_id"],
            "category_id": 1,
            "bbox": [p["bbox"][0] + shift, *p["bbox"][1:]],
            "score": 0.9 - 0.1 * p["image_id"] - shift / 100,
        }
        for p in people
        if p["image_id"] < images
        for shift in (0, 1)
    ]
    boxes.append({"image_id": 12345, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1})
    boxes.append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 0, 9], "score": 1})
    (folder / "annotations/boxes.json").write_text(json.dumps(boxes))


def tiny_student(seed: int) -> Student:
    settings = NetworkSettings(width=8, depth=1)
    torch.manual_seed(seed)
    skeleton = union([COCO17, MPII16])
    wanted = spec(skeleton=skeleton, input_wh=(32, 64))
    return Student(build_network(settings, wanted).eval(), settings, wanted)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        make_colour_dataset(place, PICTURES, PEOPLE)
        save_colour_teacher(place / "tiny.onnx")
        write_boxes(place, PICTURES)
        prepare.run(project_of(with_test_part()), log=lambda line: None)
        for n, name in enumerate(("one", "two")):
            (place / "data/students" / name).mkdir(parents=True)
            save_student(tiny_student(n), place / "data/students" / name, {})
    return place


@pytest.fixture
def colours(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def printed(function: Any, *arguments: Any, **changes: Any) -> str:
    lines: list[str] = []
    function(project_of(with_test_part()), *arguments, log=lines.append, **changes)
    return "\n".join(lines)


def refusal(function: Any, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        printed(function, *arguments, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_models_are_scored_with_intervals_keypoints_and_differences(colours: Path) -> None:
    text = printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    assert list(metrics) == ["one", "two", "teacher tiny"]
    teacher = metrics["teacher tiny"]
    assert set(teacher) == {"sha256", "coco", "average", "validation", "intervals", "keypoints", "difference"}
    assert teacher["coco"]["AP"] > 95 > 5 > metrics["one"]["coco"]["AP"]
    assert teacher["average"] == teacher["coco"]["AP"] and teacher["validation"] == {}
    assert set(teacher["intervals"]) == {"average", "coco"}
    assert set(teacher["intervals"]["coco"]) == {"AP", "PCK@0.1", "NME", "AP on detections"}
    low, high = teacher["intervals"]["coco"]["AP"]
    assert low <= teacher["coco"]["AP"] <= high
    assert teacher["keypoints"]["coco"]["keypoint"] == list(COCO17.keypoints)
    assert teacher["keypoints"]["coco"]["labelled"] == [PICTURES * PEOPLE] * 17
    assert np.mean(teacher["keypoints"]["coco"]["error"]) == pytest.approx(teacher["coco"]["NME"], abs=1e-3)
    assert "difference" not in metrics["one"] and teacher["difference"]["from"] == "one"
    value, low, high = teacher["difference"]["coco AP"]
    assert value == pytest.approx(teacher["coco"]["AP"] - metrics["one"]["coco"]["AP"], abs=2e-3) and 0 < low <= high

    table = Path("results/table.md").read_text()
    assert table in text
    assert table.splitlines()[0] == "| model | average | coco AP | coco PCK@0.1 | coco NME | coco AP on detections |"
    first, last = (table.index(start) for start in ("| teacher tiny |", "| less one | coco AP |"))
    assert (
        " ± " in table[first:last]
        and f"| teacher tiny | **{value:+.1f}** ({low:+.1f} to {high:+.1f}) |" in table[last:]
    )
    assert "± is half the 95 % interval" in table and "40 bootstrap resamples" in table
    before = Path("results/metrics.json").read_bytes()
    printed(evaluate.run, device="cpu")
    assert Path("results/metrics.json").read_bytes() == before


def test_poses_and_curves_are_those_that_are_scored(colours: Path) -> None:
    printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    shown = read_poses(Path("data/poses/coco.parquet"))
    truth = load_people("coco", "test")
    rows = list(csv.DictReader(Path("data/pck.csv").read_text().splitlines()))
    assert list(shown) == list(metrics) and len(rows) == 3 * 31
    for model, poses in shown.items():
        assert (poses.person == truth.person).all()
        # Kept as float32, which is a few millionths of a pixel here.
        assert keypoint_ap(truth, poses)["AP"] * 100 == pytest.approx(metrics[model]["coco"]["AP"], abs=0.1)
        at_tenth = [float(row["pck"]) for row in rows if row["model"] == model and row["threshold"] == "0.10"]
        assert at_tenth == [pytest.approx(metrics[model]["coco"]["PCK@0.1"], abs=2e-3)]


def test_lists_of_metrics_stand_on_one_line(colours: Path) -> None:
    printed(evaluate.run, device="cpu")
    lines = Path("results/metrics.json").read_text().splitlines()
    assert any(line.strip().startswith('"labelled": [16, 16') and line.endswith("],") for line in lines)


def test_without_resamples_there_are_no_intervals(colours: Path) -> None:
    params = with_test_part()
    params["evaluate"]["resamples"] = 0
    evaluate.run(project_of(params), None, "cpu", lambda line: None)
    text = Path("results/table.md").read_text()
    assert "±" not in text and "less one" not in text
    metrics = json.loads(Path("results/metrics.json").read_text())
    assert metrics["two"]["intervals"] == {"average": [None, None], "coco": {}}


@pytest.mark.parametrize("changes", [{"student": "two"}, {"flip": True}])
def test_one_student_or_a_flip_that_params_do_not_ask_for_write_nothing(colours: Path, changes: dict) -> None:
    text = printed(evaluate.run, device="cpu", **changes)
    assert "| teacher tiny |" in text and not Path("results").exists()
    assert not Path("data/poses").exists() and not Path("data/pck.csv").exists()


def test_copies_of_a_detection_are_suppressed(colours: Path) -> None:
    """Each person is found twice, one pixel apart. Kept, the copies rank between the correct poses of other images."""
    text = printed(score_model.run, "teacher tiny", device="cpu", out=Path("scores.json"))
    scores = json.loads(Path("scores.json").read_text())["teacher tiny"]["coco:test"]["scores"]
    assert scores["AP on detections"] == pytest.approx(scores["AP"], abs=2) and scores["AP on detections"] > 95
    assert "of 8 pictures" not in text


def test_images_without_detections_count_officially_and_are_told_apart(colours: Path) -> None:
    write_boxes(colours, PICTURES // 2)
    text = printed(score_model.run, "tiny", device="cpu", out=Path("scores.json"))
    scores = json.loads(Path("scores.json").read_text())["teacher tiny"]["coco:test"]["scores"]
    # Half of the people are never found: precision is 1 up to recall 0.5, that is at 51 of COCO's 101 recalls.
    assert scores["AP on detections"] == pytest.approx(100 * 51 / 101, abs=2)
    assert scores["AP on detections of 4 pictures"] > 95
    assert "AP on detections is over all pictures of the annotation file" in text


def test_a_model_by_name_folder_and_file(colours: Path) -> None:
    student = tiny_student(0)
    export_onnx(student.network, student.spec, colours / "one.onnx", np.full((1, 64, 32, 3), 90, np.uint8))
    scores = []
    for name in ("one", "data/students/one", "one.onnx"):
        printed(score_model.run, name, ["coco"], device="cpu", out=Path("scores.json"))
        scores.append(next(iter(json.loads(Path("scores.json").read_text()).values()))["coco:test"]["scores"])
    assert scores[0] == scores[1] and scores[2] == pytest.approx(scores[0], abs=0.5)
    assert scores[0]["NME"] > 5
    printed(
        score_model.run, "tiny.onnx", ["coco:train"], device="cpu", out=Path("scores.json")
    )  # read as params.yaml says
    found = json.loads(Path("scores.json").read_text())["tiny.onnx"]["coco:train"]
    assert found["scores"]["AP"] > 95 and "AP on detections" not in found["scores"]
    assert not Path("results").exists()


def test_two_models_are_compared_pair_by_pair(colours: Path) -> None:
    text = printed(score_model.run, "teacher tiny", ["coco"], against="one", device="cpu")
    assert "| less one | coco:test AP |" in text and "| teacher tiny | **+" in text


def test_a_flip_is_passed_on(colours: Path) -> None:
    plain, flipped = (printed(score_model.run, "one", ["coco"], device="cpu", flip=flip) for flip in (False, True))
    assert plain != flipped


def test_wrong_names_are_refused(colours: Path) -> None:
    assert refusal(score_model.run, "nobody").startswith(
        "model `nobody`: expected an ONNX file, a student's folder, or"
    )
    assert "(one, two, teacher tiny)" in refusal(score_model.run, "nobody")
    assert "nobody.onnx does not exist" in refusal(score_model.run, "nobody.onnx")
    assert "unknown dataset `cocoa`: expected one of coco" in refusal(score_model.run, "one", ["cocoa"])
    assert refusal(score_model.run, "one", ["coco:val"]) == (
        "--data coco:val: expected one of coco:train, coco:validation, coco:test"
    )
    save_colour_teacher(colours / "other.onnx")
    assert "pipeline teacher spec other.onnx" in refusal(score_model.run, "other.onnx")


def results_of(truth, shift: float) -> list[dict]:
    """COCO results with every keypoint so far to the right of the label."""
    points = np.dstack([truth.keypoints + np.array([shift, 0]), np.ones(truth.keypoints.shape[:2])]).reshape(
        len(truth), -1
    )
    return [
        {"image_id": int(i), "category_id": 1, "keypoints": p.tolist(), "score": 1}
        for i, p in zip(truth.image_id, points, strict=True)
    ]


def test_somebody_elses_coco_results(colours: Path) -> None:
    truth = load_people("coco", "test")
    for shift, ap in ((0, 100.0), (1000, 0.0)):
        Path("theirs.json").write_text(json.dumps(results_of(truth, shift)))
        text = printed(score_predictions.run, Path("theirs.json"), "coco", out=Path("scores.json"))
        assert f"| AP | {ap:.1f} | {ap:.1f} to {ap:.1f} |" in text
        assert json.loads(Path("scores.json").read_text())["theirs.json"]["coco:test"]["scores"]["AR"] == ap
    assert "16 poses of coco17 on 8 images" in text
    Path("theirs.json").write_text(json.dumps([{**results_of(truth, 0)[0], "image_id": 77}]))
    assert "found image_id 77" in refusal(score_predictions.run, Path("theirs.json"), "coco")
    assert "expected COCO results (.json) or MPII" in refusal(score_predictions.run, Path("theirs.csv"), "coco")
    savemat("preds.mat", {"preds": np.zeros((3, 16, 2))})
    assert "the score `pckh`, not of coco" in refusal(score_predictions.run, Path("preds.mat"), "coco")


@pytest.fixture
def mpii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of an MPII dataset without a truth file, and the table of six people of 100 px with heads of size 10."""
    monkeypatch.chdir(tmp_path)
    head = np.tile([0.0, 0, 30, 40], (6, 1)) / 3
    table = people(6, MPII16, head_box=head, use=np.array([True] * 5 + [False]))
    table_path("mpii", "test", "people").parent.mkdir(parents=True)
    write_people(table, table_path("mpii", "test", "people"))
    part = {"file": "none.json", "images": "none"}
    return {
        "seed": 0,
        "datasets": {"mpii": {"format": "mpii", "annotations": ".", "score": "pckh", "test": part}},
        "evaluate": {"resamples": 20},
    }


def test_somebody_elses_mpii_predictions(mpii: dict[str, Any]) -> None:
    truth, lines = load_people("mpii", "test"), []
    predicted = truth.keypoints + 1  # 1-based
    predicted[0, MPII16.index("left_wrist")] += 1000
    predicted[5] += 1000  # not in use
    savemat("preds.mat", {"preds": predicted})
    score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", Path("scores.json"), lines.append)
    found = json.loads(Path("scores.json").read_text())["preds.mat"]["mpii:test"]
    # One of 70 counted joints is wrong; pelvis and thorax are in no mean.
    assert found["scores"]["PCKh@0.5"] == found["scores"]["PCKh@0.1 weighted"] == pytest.approx(100 * 69 / 70, abs=1e-3)
    assert found["keypoints"]["labelled"] == [5] * 16
    assert (
        "| preds.mat @0.5 | 100.00 | 100.00 | 100.00 | 90.00 | 100.00 | 100.00 | 100.00 | 98.57 | 98.57 |"
        in "\n".join(lines)
    )
    assert lines[0].startswith("preds.mat on mpii:test: 6 people of mpii:test")


def test_mpii_predictions_of_other_people_are_refused_or_doubted(mpii: dict[str, Any]) -> None:
    truth, lines = load_people("mpii", "test"), []
    savemat("preds.mat", {"preds": truth.keypoints[:4] + 1})
    with pytest.raises(UserError, match=r"preds\.mat: expected `preds` of the 6 people of mpii:test .*, found 4"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    savemat("preds.mat", {"preds": np.full((6, 16, 2), -1000.0)})
    score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    assert "in the order of the truth?" in lines[-1]
    Path("theirs.json").write_text("[]")
    with pytest.raises(UserError, match=r"score mpii from a \.mat or \.h5 file"):
        score_predictions.run(project_of(mpii), Path("theirs.json"), "mpii", None, lines.append)
