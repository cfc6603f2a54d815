"""`compare` and the results for papers: differences that are those of the scores, tables that other programs read."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.metrics.bootstrap import draw_resamples
from pipeline.metrics.keypoint_scores import keypoint_scores
from pipeline.pose.skeletons import COCO17
from stages.evaluate import compare, score_model, score_predictions
from stages.evaluate import run as evaluate
from stages.evaluate.paper import latex_text
from stages.evaluate.poses import read_poses
from stages.project.datasets import load_people
from stages.project.project import project_of
from tests.stages.evaluate.colours_project import printed, refusal, with_test_part


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_differences_are_those_of_evaluate(colours: Path) -> None:
    printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    text = printed(compare.run, ["one", "teacher tiny", "two"], device="cpu", csv=Path("differences.csv"))
    rows = rows_of("differences.csv")
    assert [row["model"] for row in rows if not row["keypoint"]] == ["teacher tiny", "two"]
    assert {row["against"] for row in rows} == {"one"}
    for row in rows:
        if not row["keypoint"]:
            found = [float(row[key]) for key in ("difference", "low", "high")]
            assert row["score"] == "coco:test AP"
            assert found == pytest.approx(metrics[row["model"]]["difference"]["coco AP"], abs=2e-3)
    assert "| less one | coco:test AP |" in text
    assert "| coco:test PCK@0.1 | one | teacher tiny less one | two less one |" in text


def test_a_keypoints_difference_is_that_of_its_scores_on_the_same_resamples(colours: Path) -> None:
    printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    printed(compare.run, ["one", "teacher tiny"], device="cpu", csv=Path("differences.csv"))
    rows = {row["keypoint"]: row for row in rows_of("differences.csv") if row["keypoint"]}
    assert list(rows) == list(COCO17.keypoints)
    columns = {model: metrics[model]["keypoints"]["coco"]["PCK@0.1"] for model in ("one", "teacher tiny")}
    truth = load_people("coco", "test")
    shown = read_poses(Path("data/poses/coco.parquet"))
    resamples = draw_resamples(truth.image_id, 40, [0, *b"coco:test"])
    by_model = {model: keypoint_scores("ap", truth, shown[model], resamples)[1] for model in columns}
    for k, (name, row) in enumerate(rows.items()):
        assert float(row["difference"]) == pytest.approx(columns["teacher tiny"][k] - columns["one"][k], abs=2e-3)
        paired = by_model["teacher tiny"][name].resampled - by_model["one"][name].resampled
        assert [float(row["low"]), float(row["high"])] == pytest.approx(np.percentile(paired, [2.5, 97.5]), abs=2e-3)


@pytest.mark.parametrize("names", [["one"], ["one", "one"], ["one", "two", "one"]])
def test_other_than_different_models_is_refused(colours: Path, names: list[str]) -> None:
    assert "expected different models to compare" in refusal(compare.run, names, device="cpu")


def test_csv_and_latex_have_the_numbers_of_the_table(colours: Path) -> None:
    printed(evaluate.run, device="cpu", csv=Path("all.csv"), latex=Path("all.tex"))
    metrics = json.loads(Path("results/metrics.json").read_text())
    for row in rows_of("all.csv"):
        document = metrics[row["model"]]
        value = float(row["value"] or "nan")
        if row["score"] == "average":
            assert value == pytest.approx(document["average"], abs=1e-3)
        elif row["keypoint"]:
            columns = document["keypoints"][row["dataset"]]
            assert value == pytest.approx(columns[row["score"]][columns["keypoint"].index(row["keypoint"])], abs=1e-3)
        else:
            known = document[row["dataset"]][row["score"]]
            assert value == pytest.approx(known, abs=1e-3) if known is not None else row["value"] == ""
            interval = document["intervals"][row["dataset"]].get(row["score"])
            assert (row["low"] == "") == (interval is None)
    assert len(rows_of("all.csv")) > 3 * (17 * 3 + 10)
    lines = Path("all.tex").read_text().splitlines()
    assert lines[:2] == [r"\begin{tabular}{lrrrrr}", r"\toprule"] and lines[-1] == r"\end{tabular}"
    assert lines[2] == r"model & average & coco AP & coco PCK@0.1 & coco NME & coco AP on detections \\"
    cells = [cell.strip().removesuffix(r" \\") for cell in lines[4].split("&")]
    low, high = metrics["one"]["intervals"]["coco"]["AP"]
    assert cells[0] == "one" and cells[2] == f"{metrics['one']['coco']['AP']:.1f} $\\pm$ {(high - low) / 2:.1f}"
    assert len(lines) == 4 + 3 + 2 and all(line.endswith(r"\\") for line in lines[4:7])


def test_one_model_and_a_file_of_predictions_give_them_too(colours: Path) -> None:
    printed(score_model.run, "one", ["coco:test"], device="cpu", csv=Path("one.csv"), latex=Path("one.tex"))
    assert {row["dataset"] for row in rows_of("one.csv")} == {"", "coco:test"}
    people = json.loads(Path("annotations/train.json").read_text())["annotations"]
    poses = [{key: each[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 0.5} for each in people]
    Path("theirs.json").write_text(json.dumps(poses))
    printed(score_predictions.run, Path("theirs.json"), "coco", latex=Path("theirs.tex"))
    assert "theirs.json & 100.0" in Path("theirs.tex").read_text()


def test_the_summary_has_a_few_numbers_of_each_student(colours: Path) -> None:
    printed(evaluate.run, device="cpu")
    metrics = json.loads(Path("results/metrics.json").read_text())
    summary = json.loads(Path("results/summary.json").read_text())
    assert summary == {"one": {"average": metrics["one"]["average"], "coco AP": metrics["one"]["coco"]["AP"]}}
    named = with_test_part() | {"evaluate": {"resamples": 40, "name": "mine"}}
    evaluate.run(project_of(named), device="cpu", log=lambda line: None)
    assert json.loads(Path("results/summary.json").read_text()) == {"mine": summary}


def test_latex_text_is_escaped() -> None:
    assert latex_text("a_b & 5 % ± \\ {x}") == r"a\_b \& 5 \% $\pm$ \textbackslash{} \{x\}"
