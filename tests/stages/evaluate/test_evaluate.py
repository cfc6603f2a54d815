"""`evaluate`: what is written and printed for models whose scores are known, and nothing where nothing should be."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.export.onnx_export import export_onnx
from pipeline.metrics.bootstrap import Score
from pipeline.metrics.coco_ap import keypoint_ap
from pipeline.metrics.model_scores import ModelScores
from pipeline.networks.build import Student, build_network, save_student
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton, union
from stages import prepare
from stages.evaluate import run as evaluate
from stages.evaluate import score_model, score_predictions
from stages.evaluate.poses import read_poses
from stages.evaluate.results import average_score, differences_from
from stages.evaluate.seeds import seeds_cells
from stages.evaluate.tables import MISSED_MARK, empty_box_note
from stages.project.datasets import load_people
from stages.project.project import project_of
from stages.report import run as report
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
    assert set(teacher) == {"sha256", "coco", "average", "validation", "intervals", "keypoints", "missed", "difference"}
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


def test_keypoints_that_a_model_does_not_give_are_marked_in_every_mean(colours: Path) -> None:
    """The student `blind` has no wrists: its AP and PCK count them as missed, its NME leaves them out."""
    skeleton = Skeleton("blind", tuple(k for k in COCO17.keypoints if "wrist" not in k))
    settings = NetworkSettings(width=8, depth=1)
    wanted = spec(skeleton=skeleton, input_wh=(32, 64))
    save_student(Student(build_network(settings, wanted).eval(), settings, wanted), Path("data/students/two"), {})
    text = printed(evaluate.run, device="cpu", latex=Path("table.tex"))
    missed = json.loads(Path("results/metrics.json").read_text())["two"]["missed"]["coco"]
    assert set(missed) == {"AP", "PCK@0.1", "AP on detections"} | {
        key for key in missed if key.startswith(("AP", "AR"))
    }
    assert missed["AP"] == ["left_wrist", "right_wrist"]
    lines = Path("results/table.md").read_text().partition("\n\n")[0].splitlines()
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in lines}
    average, ap, pck, nme, _ = rows["| two"]
    assert all("\N{DAGGER} ±" in cell for cell in (average, ap, pck)) and "\N{DAGGER}" not in nme
    assert not any("\N{DAGGER}" in cell for cell in rows["| one"])
    assert (
        "\N{DAGGER} counts keypoints as missed that the model does not give. coco: left_wrist, right_wrist by two."
        in text
    )
    assert r"$^\dagger$ $\pm$" in Path("table.tex").read_text()


def test_students_of_several_seeds_have_a_mean_and_a_deviation(colours: Path) -> None:
    for number, name in ((1, "one"), (2, "one"), (1, "two")):
        folder = Path("data/students") / name / "seeds" / str(number)
        folder.mkdir(parents=True)
        save_student(tiny_student(10 * number + len(name)), folder, {})
    for name in ("one", "two"):
        description = Path("data/students") / name / "student.json"
        description.write_text(json.dumps({**json.loads(description.read_text()), "seed": 0}))
    Path("data/students/one/seeds/2.partial").mkdir()  # a training that is being saved, or was killed
    text = printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    seeds = metrics["one"]["seeds"]
    assert list(seeds["by_seed"]) == ["0", "1", "2"] and "seeds" not in metrics["teacher tiny"]
    values = [seeds["by_seed"][number]["coco AP"] for number in ("0", "1", "2")]
    assert values[0] == metrics["one"]["coco"]["AP"]
    assert seeds["mean"]["coco AP"] == pytest.approx(np.mean(values), abs=2e-3)
    assert seeds["deviation"]["coco AP"] == pytest.approx(np.std(values, ddof=1), abs=2e-3)
    summary = json.loads(Path("results/summary.json").read_text())
    assert summary["one"]["average"] == seeds["mean"]["average"]
    assert summary["one"]["deviation"] == seeds["deviation"]["average"]
    assert "| over seeds | seeds | average | coco AP | average less one |" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| two | 2 |"))
    first, second = (
        np.array([metrics[name]["seeds"]["by_seed"][n]["average"] for n in "01"]) for name in ("one", "two")
    )
    assert f"{np.mean(second - first):+.1f}" in row and "| one | 3 | " in text and "one common seed" not in row
    printed(report.run)
    page = Path("data/report/report.html").read_text()
    assert "Mean over the seeds" in page and "0, 1, 2" in page


def test_a_difference_of_one_seed_is_not_bold_and_says_so() -> None:
    scores = {
        seed: {"coco": SimpleNamespace(scores={"AP": Score(value, np.full(9, value))})}
        for seed, value in ((0, 40.0), (1, 50.0))
    }
    by_seed = {
        "one": {0: scores[0], 2: scores[0]},
        "two": {0: scores[1], 1: scores[1]},
        "three": {0: scores[1], 2: scores[1]},
    }
    _, (_, of_one_seed, of_two) = seeds_cells(by_seed, {"coco": SimpleNamespace(score="ap", labels_train=True)})
    assert of_one_seed[-1] == "+10.0 (+10.0 to +10.0), one common seed"
    assert of_two[-1] == "**+10.0** (+10.0 to +10.0)"


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
    assert "of 8 images" not in text


def test_images_without_detections_count_officially_and_are_told_apart(colours: Path) -> None:
    write_boxes(colours, PICTURES // 2)
    text = printed(score_model.run, "tiny", device="cpu", out=Path("scores.json"))
    scores = json.loads(Path("scores.json").read_text())["teacher tiny"]["coco:test"]["scores"]
    # Half of the people are never found: precision is 1 up to recall 0.5, that is at 51 of COCO's 101 recalls.
    assert scores["AP on detections"] == pytest.approx(100 * 51 / 101, abs=2)
    assert scores["AP on detections of 4 images"] > 95
    assert "AP on detections is over all images of the annotation file" in text


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
    assert "16 of 16 poses lie wholly outside their images" in text  # those moved by 1000 pixels
    shares = [{**pose, "keypoints": [v / 1000 for v in pose["keypoints"]]} for pose in results_of(truth, 0)]
    Path("theirs.json").write_text(json.dumps(shares))
    assert "expected keypoints in pixels, found none above 1" in refusal(
        score_predictions.run, Path("theirs.json"), "coco"
    )
    Path("theirs.json").write_text(json.dumps([{**results_of(truth, 0)[0], "image_id": 77}]))
    assert "found image_id 77" in refusal(score_predictions.run, Path("theirs.json"), "coco")
    assert "expected COCO results (.json) or MPII" in refusal(score_predictions.run, Path("theirs.csv"), "coco")
    savemat("preds.mat", {"preds": np.zeros((3, 16, 2))})
    assert "the score `pckh`, not of coco" in refusal(score_predictions.run, Path("preds.mat"), "coco")


def test_predictions_need_the_annotations_only(colours: Path) -> None:
    """No tables and no images; the parts are those that `prepare` makes, and the person may be any category."""
    document = json.loads(Path("annotations/train.json").read_text())
    params = with_test_part(prepare__validation=0.4)
    prepare.run(project_of(params), log=lambda line: None)
    everybody = {split: load_people("coco", split) for split in ("train", "validation", "test")}
    shutil.rmtree("data/people")
    shutil.rmtree("pictures")
    for category in (document["categories"][0]["id"], 0, 7):
        document["categories"][0]["id"] = category
        for person in document["annotations"]:
            person["category_id"] = category
        document["images"] += document["images"][:1]
        Path("annotations/train.json").write_text(json.dumps(document))
        for split, truth in everybody.items():
            theirs, lines = [pose | {"category_id": category} for pose in results_of(truth, 0)], []
            Path("theirs.json").write_text(json.dumps([*theirs, theirs[0] | {"category_id": 99}]))
            score_predictions.run(project_of(params), Path("theirs.json"), f"coco:{split}", None, lines.append)
            text = "\n".join(lines)
            assert "| AP | 100.0 |" in text and f"{len(truth)} poses of coco17" in text
            assert (
                f"1 of {len(truth) + 1} poses are left out (1 of category 99): people are category {category}" in text
            )
    others = [{**pose, "image_id": int(everybody["train"].image_id[0])} for pose in theirs]
    Path("theirs.json").write_text(json.dumps(others))
    with pytest.raises(UserError, match="expected poses on the images of coco:validation, found none of 16"):
        score_predictions.run(project_of(params), Path("theirs.json"), "coco:validation", None, lines.append)


def test_of_predictions_the_listed_images_alone_count(colours: Path) -> None:
    """Poses on other images are no false detections."""
    params = with_test_part()
    truth = load_people("coco", "test")
    names = np.unique(truth.image)
    Path("some.txt").write_text("\n".join(f"folder/{name}" for name in names[:3].tolist()))
    part = params["datasets"]["coco"]["test"]
    params["datasets"]["coco"]["test"] = {"file": part["file"], "images": part["images"], "only": "some.txt"}
    theirs = results_of(truth, 0)
    for pose, image in zip(theirs, truth.image.tolist(), strict=True):
        if image not in names[:3]:
            pose["keypoints"] = [9.0] * len(pose["keypoints"])
    Path("theirs.json").write_text(json.dumps(theirs))
    lines: list[str] = []
    score_predictions.run(project_of(params), Path("theirs.json"), "coco", None, lines.append)
    text = "\n".join(lines)
    kept = int(np.isin(truth.image, names[:3]).sum())
    assert "| AP | 100.0 |" in text and f"{kept} poses of coco17 on 3 images" in text


def off_by_some(truth) -> list[dict]:
    """COCO results of which some keypoints are far from their labels, so that AP is neither 0 nor 100."""
    theirs = results_of(truth, 0)
    for n, pose in enumerate(theirs):
        for k in range(n % 9):
            pose["keypoints"][3 * k] += 25 + n
    return theirs


def value_of(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("| AP |"))


def rewritten(change: Any) -> None:
    """Write annotations/train.json after `change` was called with every person."""
    document = json.loads(Path("annotations/train.json").read_text())
    for person in document["annotations"]:
        change(person)
    Path("annotations/train.json").write_text(json.dumps(document))


def test_placeholders_for_areas_score_as_no_areas_and_the_areas_are_named(colours: Path) -> None:
    """Whatever placeholder stands there, AP is that of 0.53 x box, which pycocotools gives for such areas."""
    Path("theirs.json").write_text(json.dumps(off_by_some(load_people("coco", "test"))))
    rewritten(lambda person: person.update(area=0.53 * person["bbox"][2] * person["bbox"][3]))
    plain = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert 0 < float(value_of(plain).split("|")[2]) < 100
    for placeholder in (None, 0, 1, -1, 1e9, 0.004):
        rewritten(lambda person, area=placeholder: person.update(area=area))
        text = printed(score_predictions.run, Path("theirs.json"), "coco")
        assert value_of(text) == value_of(plain)
        assert "coco:test: the area in OKS is 0.53 x box, as no usable area is annotated" in text
        assert ("`area` cannot be meant for 16 of 16 people" in text) == (placeholder is not None)
    rewritten(lambda person: person.update(area=0.1 * person["bbox"][2] * person["bbox"][3]))
    text = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert value_of(text) != value_of(plain) and "the area in OKS is the annotated area" in text


@pytest.mark.parametrize("seed", range(4))
def test_results_are_in_the_order_of_names_that_the_annotations_list(colours: Path, seed: int) -> None:
    """As in pycocotools, which compares by position: the same labels and poses in another order score the same."""
    theirs = off_by_some(load_people("coco", "test"))
    Path("theirs.json").write_text(json.dumps(theirs))
    plain = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert "pycocotools" not in plain
    order = np.random.default_rng(seed).permutation(17)

    def reorder(entry: dict[str, Any]) -> None:
        entry["keypoints"] = np.reshape(entry["keypoints"], (17, 3))[order].ravel().tolist()

    rewritten(reorder)
    document = json.loads(Path("annotations/train.json").read_text())
    document["categories"][0]["keypoints"] = [COCO17.keypoints[k] for k in order]
    Path("annotations/train.json").write_text(json.dumps(document))
    for pose in theirs:
        reorder(pose)
    Path("theirs.json").write_text(json.dumps(theirs))
    text = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert value_of(text) == value_of(plain)
    assert "keypoints are taken in the order in which annotations/train.json lists them, as pycocotools" in text


def test_boxes_in_another_form_are_not_scored(colours: Path) -> None:
    rewritten(lambda person: person.update(bbox=[person["bbox"][0] + 500, *person["bbox"][1:]]))
    Path("theirs.json").write_text(json.dumps(results_of(load_people("coco", "test"), 0)))
    assert "16 of 16 people have most keypoints outside their box (first person" in refusal(
        score_predictions.run, Path("theirs.json"), "coco"
    )


def test_somebody_elses_poses_of_no_person_are_refused(colours: Path) -> None:
    theirs = [pose | {"category_id": 0} for pose in results_of(load_people("coco", "test"), 0)]
    Path("theirs.json").write_text(json.dumps(theirs))
    assert refusal(score_predictions.run, Path("theirs.json"), "coco") == (
        "theirs.json: expected poses of people (`category_id` 1), found 16 of category 0"
    )
    boxes = json.loads(Path("annotations/boxes.json").read_text())
    Path("annotations/boxes.json").write_text(json.dumps([box | {"category_id": 2} for box in boxes]))
    assert "boxes.json: expected detections of people (`category_id` 1), found 34 of category 2" in refusal(
        score_model.run, "one", device="cpu"
    )


@pytest.fixture
def mpii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of an MPII dataset without truth file, images and tables. Head top and neck of its six people are 10 apart."""
    monkeypatch.chdir(tmp_path)
    write_mpii(six_people())
    part = {"file": "mpii.json", "images": "none"}
    return {
        "seed": 0,
        "datasets": {"mpii": {"format": "mpii", "annotations": ".", "score": "pckh", "test": part}},
        "evaluate": {"resamples": 20},
    }


def six_people() -> np.ndarray:
    """Keypoints (6, 16, 2) of MPII."""
    keypoints = people(6, MPII16).keypoints
    keypoints[:, MPII16.index("head_top")] = keypoints[:, MPII16.index("upper_neck")] - [6, 8]
    return keypoints


def write_mpii(keypoints: np.ndarray, lacking: tuple[str, ...] = ()) -> None:
    """The annotation file, with all labelled but the keypoints that are `lacking`; the last person has no place, so is not in use."""
    visible = [int(name not in lacking) for name in MPII16.keypoints]
    entries = [
        {"image": f"{n // 2}.jpg", "scale": 1, "center": [50, 50], "joints": (k + 1).tolist(), "joints_vis": visible}
        for n, k in enumerate(keypoints)
    ]
    entries[-1]["center"] = [-1, -1]
    Path("mpii.json").write_text(json.dumps(entries))


def test_somebody_elses_mpii_predictions(mpii: dict[str, Any]) -> None:
    keypoints, lines = six_people(), []
    predicted = keypoints + 1  # 1-based
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
    assert "mpii:test: 5 of 5 people have no head box; head top to upper neck stands in for it" in "\n".join(lines)
    with h5py.File("preds.h5", "w") as file:
        file["preds"] = predicted
    again: list[str] = []
    score_predictions.run(project_of(mpii), Path("preds.h5"), "mpii", Path("scores.json"), again.append)
    assert json.loads(Path("scores.json").read_text())["preds.h5"]["mpii:test"] == found


def test_nobody_is_not_scored(mpii: dict[str, Any]) -> None:
    """Without head boxes, head tops or necks nobody has a head size."""
    write_mpii(six_people(), lacking=("head_top",))
    savemat("preds.mat", {"preds": six_people() + 1})
    with pytest.raises(UserError, match=r"mpii:test: expected people with a head box, or with head top and upper neck"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lambda line: None)


def test_mpii_predictions_of_other_people_are_refused_or_doubted(mpii: dict[str, Any]) -> None:
    lines: list[str] = []
    savemat("preds.mat", {"preds": six_people()[:4] + 1})
    with pytest.raises(UserError, match=r"preds\.mat: expected `preds` of the 6 people of mpii:test, .*, found 4"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    savemat("preds.mat", {"preds": np.full((6, 16, 2), -1000.0)})
    score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    assert "in the order of the truth?" in "\n".join(lines)
    Path("theirs.json").write_text("[]")
    with pytest.raises(UserError, match=r"score mpii from a \.mat or \.h5 file"):
        score_predictions.run(project_of(mpii), Path("theirs.json"), "mpii", None, lines.append)
    Path("some.txt").write_text("0.jpg\n1.jpg\n")
    mpii["datasets"]["mpii"]["test"] |= {"only": "some.txt"}
    with pytest.raises(UserError, match=r"expected `preds` of the 4 people of mpii:test"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)


def test_labelled_people_in_empty_boxes_are_said(colours: Path) -> None:
    truth = load_people("coco", "test")
    assert empty_box_note("coco", truth) is None
    box = truth.box.copy()
    box[[2, 5], 2] = 0
    note = empty_box_note("coco", dataclasses.replace(truth, box=box))
    assert note and note.startswith(
        f"coco: 2 labelled people have a box without width or height (first person {truth.person[2]})"
    )


def test_without_a_test_part_nothing_is_written(colours: Path) -> None:
    values = with_test_part()
    del values["datasets"]["coco"]["test"]
    with pytest.raises(UserError, match=r"datasets: expected one with a `test` part, found none: add one, or score"):
        evaluate.run(project_of(values), device="cpu", log=lambda line: None)
    assert not Path("results").exists()


def test_poses_without_some_keypoints_are_marked(colours: Path) -> None:
    """Poses of MPII's 16 joints, right where they are given: nose, eyes and ears are not."""
    truth = load_people("coco", "test")
    shared = [k for k in MPII16.keypoints if k in COCO17.keypoints]
    points = np.zeros((len(truth), 16, 3))
    points[:, [MPII16.index(k) for k in shared], :2] = truth.keypoints[:, [COCO17.index(k) for k in shared]]
    points[..., 2] = 1
    theirs = [
        {"image_id": int(image), "category_id": 1, "keypoints": p.ravel().tolist(), "score": 1}
        for image, p in zip(truth.image_id, points, strict=True)
    ]
    Path("theirs.json").write_text(json.dumps(theirs))
    text = printed(score_predictions.run, Path("theirs.json"), "coco", out=Path("scores.json"))
    (row,) = (line for line in text.splitlines() if line.startswith("| AP |"))
    assert MISSED_MARK in row and "nose, left_eye, right_eye, left_ear, right_ear by theirs.json" in text
    missed = json.loads(Path("scores.json").read_text())["theirs.json"]["coco:test"]["missed"]
    assert missed["AP"] == ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]


def test_parts_of_one_dataset_weigh_as_one() -> None:
    def scores(value: float) -> ModelScores:
        return ModelScores({"AP": Score(value, np.zeros(0))})

    coco, other = project_of(with_test_part()).dataset("coco"), project_of(with_test_part()).dataset("coco")
    parts = {"coco:test": coco, "coco:validation": coco, "other:test": other}
    found = {"coco:test": scores(10), "coco:validation": scores(20), "other:test": scores(45)}
    assert average_score(found, parts).value == 30
    assert "average" not in differences_from(found, found, {"coco:test": coco, "coco:validation": coco})
