"""`evaluate`: what is written and printed for models whose scores are known, and nothing where nothing should be."""

import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.export.onnx_export import export_onnx
from pipeline.metrics.bootstrap import Score
from pipeline.metrics.coco_ap import keypoint_ap
from pipeline.metrics.model_scores import ModelScores
from pipeline.networks.build import Student, build_network, save_student
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, Skeleton
from stages.evaluate import run as evaluate
from stages.evaluate import score_model
from stages.evaluate.poses import read_poses
from stages.evaluate.results import average_score, differences_from
from stages.evaluate.seeds import seeds_cells
from stages.evaluate.tables import empty_box_note
from stages.project.datasets import load_people
from stages.project.project import project_of
from stages.report import run as report
from tests.colours import save_colour_teacher
from tests.pipeline.examples import spec
from tests.stages.evaluate.colours_project import (
    PEOPLE,
    PICTURES,
    printed,
    refusal,
    tiny_student,
    with_test_part,
    write_boxes,
)


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


def test_parts_of_one_dataset_weigh_as_one() -> None:
    def scores(value: float) -> ModelScores:
        return ModelScores({"AP": Score(value, np.zeros(0))})

    coco, other = project_of(with_test_part()).dataset("coco"), project_of(with_test_part()).dataset("coco")
    parts = {"coco:test": coco, "coco:validation": coco, "other:test": other}
    found = {"coco:test": scores(10), "coco:validation": scores(20), "other:test": scores(45)}
    assert average_score(found, parts).value == 30
    assert "average" not in differences_from(found, found, {"coco:test": coco, "coco:validation": coco})
