"""The comparison: its file, its matrix in DVC, one run end to end, and the tables' arithmetic."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.errors import UserError
from stages import teach
from stages.experiment import run, table
from stages.experiment.arms import load_experiment
from stages.experiment.costs import StageOne, cost_of
from stages.experiment.table import mean_and_spread, signed
from stages.students import Arm
from tests.closure import ROOT
from tests.stages.test_arms import values

ARM = {"datasets": ["coco"], "teachers": ["tiny"]}
CHANGE = {**ARM, "distill": {"temperature": 1.0}}
FILE = {
    "seeds": [0, 1],
    "conditions": {"few labels": ["few-control", "few-offline-4"]},
    "ablations": ["sharpening-off"],
    "arms": {
        "control": {"datasets": ["coco"]},
        "offline-4": ARM,
        "few-control": {"datasets": ["coco"], "missing": 0.5},
        "few-offline-4": {**ARM, "missing": 0.5},
        "sharpening-off": CHANGE,
    },
}
NAMES = list(FILE["arms"])


def write(folder: Path, document: object) -> None:
    path = folder / "experiments/arms.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def test_the_matrix_of_dvc_runs_every_arm_with_every_seed():
    line = yaml.safe_load((ROOT / "experiments/dvc.yaml").read_text())["stages"]
    experiment = load_experiment(ROOT / "experiments/arms.yaml")
    assert line["arm"]["matrix"]["arm"] == list(experiment.arms)
    assert line["arm"]["matrix"]["seed"] == "${seeds}"
    assert list(experiment.main) == [
        *("coco-only", "mpii-only", "joint", "control", "warped-1", "offline-4", "offline-8", "online")
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({**FILE, "seeds": []}, "seeds: expected a list of whole numbers"),
        ({**FILE, "armz": {}}, "unknown key `armz`: did you mean `arms`"),
        ({**FILE, "ablations": ["sharper"]}, "arms.sharper: missing: the tables are made from it"),
        ({**FILE, "conditions": {"noisy": ["noisy-control", "offline-4"]}}, "arms.noisy-control: missing"),
        (
            {**FILE, "conditions": {"noisy": ["control"]}},
            "conditions.noisy: expected two arms, without teachers and with",
        ),
        ({**FILE, "arms": {"a": {"dataset": ["coco"]}}}, "arms.a: unknown key `dataset`: did you mean `datasets`"),
        ([1], "expected a mapping with seeds, conditions, ablations, arms, found list"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, document, message):
    write(tmp_path, document)
    with pytest.raises(UserError, match=message):
        load_experiment(tmp_path / "experiments/arms.yaml")


def test_an_unknown_arm_is_named_with_the_known_ones(tmp_path):
    write(tmp_path, FILE)
    with pytest.raises(UserError, match="unknown arm `online`: expected one of control, offline-4, few-control"):
        load_experiment(tmp_path / "experiments/arms.yaml").arm("online")


def test_costs_count_the_views_that_an_arm_uses():
    costs = {("t", "a"): StageOne(10, 1.0, 3.0), ("u", "a"): StageOne(10, 2.0, 4.0)}
    both = Arm(["a"], ["t", "u"])
    assert cost_of(both, costs, 8) == StageOne(160, 24.0, 56.0)
    assert cost_of(Arm(["a"], ["t", "u"], view_count=4), costs, 8) == StageOne(80, 12.0, 28.0)
    assert cost_of(Arm(["a"], ["t", "u"], views="warped"), costs, 8) == StageOne(20, 3.0, 7.0)
    assert cost_of(Arm(["a"], ["t", "u"], views="online"), costs, 8) == StageOne(0, 0, 0)


def test_mean_and_spread():
    assert mean_and_spread([50.0, 52.0, 54.0]) == "52.0 ± 2.0"
    assert mean_and_spread([50.0]) == "50.0"
    assert mean_and_spread([50.0, float("nan")]) == ""
    assert signed(np.array([1.0, 2.0])) == "+1.5 ± 0.7"
    assert signed(np.array([-1.0, -1.0])) == "-1.0 ± 0.0"


@pytest.mark.slow
def test_every_run_is_scored_and_the_tables_hold_their_means(project):
    settings = values()
    settings["datasets"]["coco"]["test"] = settings["datasets"]["coco"]["train"]
    from stages import evaluate, prepare

    prepare.run(settings, say=lambda line: None)
    teach.run(settings, "tiny", "cpu", say=lambda line: None)
    evaluate.run(settings, device="cpu", say=lambda line: None)
    write(Path(), FILE)
    with pytest.raises(UserError, match="run `pipeline experiment run control --seed 0`"):
        table.run(settings, say=lambda line: None)
    for name in NAMES:
        run.run(settings, name, device="cpu", say=lambda line: None)
    table.run(settings, say=lambda line: None)

    scores = {
        (name, seed): json.loads(Path(f"data/experiment/{name}-{seed}/scores.json").read_text())
        for name in NAMES
        for seed in (0, 1)
    }
    assert scores["control", 0]["steps"] == 6
    assert "test" not in scores["sharpening-off", 0]
    expected = np.mean([scores["offline-4", seed]["average"] for seed in (0, 1)])
    text = Path("results/experiment/table.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| offline-4 |"))
    assert row.split("|")[2].strip().startswith(f"{expected:.1f} ± ")
    with open("results/experiment/runs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], int(row["seed"])) for row in rows] == [(name, seed) for name in NAMES for seed in (0, 1)]
    for plot in ("passes.png", "conditions.png"):
        assert Path(f"results/experiment/{plot}").read_bytes().startswith(b"\x89PNG")
