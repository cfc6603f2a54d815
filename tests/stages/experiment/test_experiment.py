"""The comparison: its file, its matrix in DVC, one run end to end, and the tables' arithmetic."""

import csv
import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.common.errors import UserError
from stages.evaluate.seeds import mean_and_deviation
from stages.experiment import train
from stages.experiment.arms import Experiment, load_experiment
from stages.experiment.results import StageOneCost, profile_name, read_runs, scores_path
from stages.experiment.scoring import run as score
from stages.experiment.scoring.kept import add_run
from stages.experiment.scoring.recipe import judges_digest
from stages.experiment.tables import markdown
from stages.experiment.tables import run as table
from stages.experiment.tables.costs import StoreCost, store_cost
from stages.project.project import load_project, project_of
from stages.project.students import StudentConfig
from stages.teach import run as teach
from tests.closure import ROOT
from tests.stages.training.tiny_student import student_params

ARM = {"datasets": ["coco"], "teachers": ["tiny"]}
CHANGE = {**ARM, "distill": {"temperature": 1.0}}
FILE = {
    "seeds": [0, 1],
    "other_seeds": 1,
    "headline": ["control", "offline-4"],
    "conditions": {"few labels": ["few-control", "few-offline-4"]},
    "ablations": ["sharpening-off"],
    "arms": {
        "control": {"datasets": ["coco"]},
        "offline-4": ARM,
        "few-control": {"datasets": ["coco"], "label_drop": 0.5},
        "few-offline-4": {**ARM, "label_drop": 0.5},
        "sharpening-off": CHANGE,
    },
}
NAMES = list(FILE["arms"])


def write(folder: Path, document: object) -> None:
    path = folder / "experiments/arms.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def test_the_matrix_of_dvc_runs_every_arm_with_every_seed():
    line = yaml.safe_load((ROOT / "experiments/dvc.yaml").read_text())
    experiment = load_experiment(ROOT / "experiments/arms.yaml")
    assert line["vars"] == ["arms.yaml"] and line["stages"]["train"]["foreach"] == "${arms}"
    assert experiment.headline == ("coco-only", "mpii-only", "joint", "control", "offline-4")
    assert set(experiment.headline) < set(experiment.main)


def test_arms_that_need_what_params_yaml_lacks_are_not_run():
    sample = load_experiment(ROOT / "experiments/arms.yaml").possible(load_project(ROOT / "params.yaml"))
    assert {"control", "offline-8", "online"} <= set(sample)
    assert not {"offline-16", "better-mpii-teacher", "unlabelled-images"} & set(sample)


def test_headline_arms_have_all_seeds_and_others_the_first():
    experiment = load_experiment(ROOT / "experiments/arms.yaml")
    assert experiment.seeds_of("control") == (0, 1, 2, 3, 4)
    assert experiment.seeds_of("online") == (0, 1, 2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({**FILE, "seeds": []}, "seeds: expected a list of whole numbers"),
        ({**FILE, "other_seeds": 3}, "other_seeds: expected a number from 1 to 2, found 3"),
        ({**FILE, "headline": "control"}, "headline: expected a list of arms, found 'control'"),
        ({**FILE, "headline": ["controll"]}, "arms.controll: missing"),
        ({**FILE, "armz": {}}, "unknown key `armz`: did you mean `arms`"),
        ({**FILE, "ablations": ["sharper"]}, "arms.sharper: missing: the tables are made from it"),
        ({**FILE, "conditions": {"noisy": ["noisy-control", "offline-4"]}}, "arms.noisy-control: missing"),
        (
            {**FILE, "conditions": {"noisy": ["control"]}},
            "conditions.noisy: expected two arms, without teachers and with",
        ),
        ({**FILE, "arms": {"a": {"dataset": ["coco"]}}}, "arms.a: unknown key `dataset`: did you mean `datasets`"),
        ([1], "expected a mapping, found list"),
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
    costs = [
        StageOneCost("t", "a", 10, 1.0, 3.0),
        StageOneCost("u", "a", 10, 2.0, 4.0),
        StageOneCost("u", "b", 1, 1.0, 1.0),
    ]
    both = StudentConfig(["a"], ["t", "u"])
    assert store_cost(both, costs, 8) == StoreCost(160, 24.0, 56.0)
    assert store_cost(StudentConfig(["a"], ["t", "u"], view_count=4), costs, 8) == StoreCost(80, 12.0, 28.0)
    assert store_cost(StudentConfig(["a"], ["t", "u"], views="online"), costs, 8) == StoreCost(0, 0, 0)


def test_keypoints_of_a_neutral_set_are_means_over_sides_and_seeds():
    keypoints = [
        {"left_hip": 10.0, "right_hip": 20.0, "head_top": 50.0, "heel": None},
        {"left_hip": 30.0, "right_hip": 40.0, "head_top": None},
    ]
    runs = {
        "control": [{"keypoints": {"lsp": each}} for each in keypoints],
        "other": [{"keypoints": {"lsp": keypoints[0]}}],
    }
    assert markdown.keypoints_table("lsp", runs, {"head_top", "nose"}).splitlines() == [
        "| lsp: PCK@0.1 | hip | head top* |",
        "|---|---:|---:|",
        "| control | 25.0 |  |",
        "| other | 15.0 | 50.0 |",
    ]


def test_differences_are_paired_by_seed_and_resampled_over_seeds_and_images():
    random = np.random.default_rng(0)
    images = random.normal(0, 3, 400)  # what the test images do to both arms alike
    runs = [
        [{"seed": s, "average": 40.0 + s + gain, "resampled": 40.0 + s + gain + images} for s in seeds]
        for gain, seeds in ((0.0, (0, 1, 2, 3)), (2.0, (1, 2, 3, 4)))
    ]
    seeds, difference = markdown.paired_difference(*runs)
    assert seeds == 3 and difference.value == pytest.approx(2.0)
    assert difference.interval == (pytest.approx(2.0), pytest.approx(2.0))
    runs[1][0]["resampled"] = runs[1][0]["resampled"] + random.normal(0, 3, 400)
    low, high = markdown.paired_difference(*runs)[1].interval
    assert low < 1.0 and high > 3.0


def test_an_ablation_is_compared_with_the_arm_of_the_same_teachers():
    arms = {"control": [], "offline-4": ["t"], "longer-control": [], "longer": ["t"]}
    experiment = Experiment(
        (0,), 1, (), {}, ("longer-control", "longer"), {n: StudentConfig(["a"], t) for n, t in arms.items()}
    )
    averages = zip(arms, (40.0, 42.0, 41.0, 45.0), strict=True)
    runs = {name: [{"seed": 0, "validation": {"average": value}}] for name, value in averages}
    text = markdown.ablations_table(experiment, runs)
    assert "| longer-control | 1 | 41.0 | +1.0 to control |" in text
    assert "| longer | 1 | 45.0 | +3.0 to offline-4 |" in text
    assert "| offline-4 | 1 | 42.0 |  |" in text


def averages_of_seeds(values: dict[int, float]) -> list[dict]:
    images = np.random.default_rng(0).normal(0, 3, 200)
    return [{"seed": seed, "average": value, "resampled": value + images} for seed, value in values.items()]


def test_an_ablation_without_a_common_seed_is_compared_with_nobody():
    arms = {
        "control": StudentConfig(["a"]),
        "offline-4": StudentConfig(["a"], ["t"]),
        "longer": StudentConfig(["a"], ["t"]),
    }
    experiment = Experiment((0, 1), 1, (), {}, ("longer",), arms)
    runs = {name: [{"seed": int(name == "longer"), "validation": {"average": 40.0}}] for name in arms}
    assert "| longer | 1 | 40.0 | no common seed with offline-4 |" in markdown.ablations_table(experiment, runs)


def test_conditions_are_paired_by_seed_and_never_by_position():
    pair = averages_of_seeds({0: 40.0, 1: 50.0}), averages_of_seeds({1: 53.0, 2: 70.0})
    text = markdown.conditions_table({"few labels": pair})
    assert "| few labels | 45.0 ± 7.1 | 61.5 ± 12.0 | +3.0 [+3.0, +3.0] (1) |" in text
    assert "no common seed" in markdown.conditions_table({"x": (pair[0][:1], pair[1])})


def test_each_arm_is_compared_with_the_headlines_arms_without_teachers():
    arms = {
        "a-only": StudentConfig(["a"]),
        "control": StudentConfig(["a", "b"]),
        "offline-4": StudentConfig(["a", "b"], ["t"]),
        "offline-8": StudentConfig(["a", "b"], ["t"]),
    }
    experiment = Experiment((0, 1), 1, ("a-only", "control", "offline-4"), {}, (), arms)
    values = {
        "a-only": {0: 30.0},
        "control": {0: 40.0, 1: 41.0},
        "offline-4": {0: 42.0, 1: 43.0},
        "offline-8": {1: 44.0},
    }
    text = markdown.differences_table(experiment, {name: averages_of_seeds(v) for name, v in values.items()})
    assert text.splitlines() == [
        "| difference of averages [95 % interval] | less control (seeds) | less a-only (seeds) |",
        "|---|---:|---:|",
        "| a-only | -10.0 [-10.0, -10.0] (1) |  |",
        "| control |  | +10.0 [+10.0, +10.0] (1) |",
        "| offline-4 | **+2.0 [+2.0, +2.0]** (2) | +12.0 [+12.0, +12.0] (1) |",
        "| offline-8 | +3.0 [+3.0, +3.0] (1) | no common seed |",
    ]


def test_each_datasets_own_student_is_judged_on_that_one():
    project = load_project(ROOT / "params.yaml")
    experiment = load_experiment(ROOT / "experiments/arms.yaml")

    def runs(values: dict[int, tuple[float, float]]) -> list[dict]:
        return [
            {"seed": s, "test": {"coco": {"AP": ap}, "mpii": {"PCKh@0.5": pckh}}} for s, (ap, pckh) in values.items()
        ]

    of_arms = {"coco-only": runs({0: (10.0, 1.0), 1: (20.0, 1.0)}), "mpii-only": runs({1: (2.0, 60.0), 2: (2.0, 70.0)})}
    expected = {"coco AP": [20.0], "mpii PCKh@0.5": [60.0], "average": [40.0]}
    assert markdown.specialists(project, experiment, of_arms) == expected
    assert markdown.specialists(project, experiment, {"coco-only": of_arms["coco-only"]}) == {}
    # An arm of one dataset with a teacher is not the dataset's own student.
    taught = dataclasses.replace(experiment.arms["coco-only"], teachers=["coco"])
    more = dataclasses.replace(experiment, arms={**experiment.arms, "coco-taught": taught})
    of_arms["coco-taught"] = runs({1: (99.0, 1.0)})
    assert markdown.specialists(project, more, of_arms) == expected


def test_scores_that_count_keypoints_a_model_lacks_are_marked():
    run = {"seed": 0, "passes": 0, "cpu_seconds": 1.0, "average": 40.0, "test": {"coco": {"AP": 30.0}}, "lacking": {}}
    lacking = {**run, "missed": ["average", "coco AP"]}
    runs = {"control": [run, {**run, "seed": 1, "cpu_seconds": 3.0}]}
    text = markdown.arms_table(runs, {"control": StoreCost(0, 0, 0)}, {"teacher mpii": lacking}, {})
    assert (
        "| control | 2 | 40.0 ± 0.0 | 30.0 ± 0.0 |  |  |  |  | 1 |" in text
        and "| teacher mpii |  | 40.0† | 30.0† |" in text
    )


def test_lengths_are_of_the_arms_that_differ_in_length_alone():
    control, other = StudentConfig(["a"]), StudentConfig(["a"], ["t"])
    arms = {"control": control, "offline-4": other}
    arms |= {"half-control": StudentConfig(["a"], length=0.5), "noisy": StudentConfig(["a"], length=2, label_noise=0.1)}
    experiment = Experiment((0,), 1, (), {}, (), arms)
    steps = {"control": 10, "offline-4": 10, "half-control": 5, "noisy": 20}
    runs = {name: [{"steps": steps[name], "validation": {"average": 40.0 + n}}] for n, name in enumerate(arms)}
    assert table._lengths(experiment, runs) == {
        "control": [(5, [42.0]), (10, [40.0])],
        "offline-4": [(10, [41.0])],
    }


def test_mean_and_deviation():
    assert mean_and_deviation([50.0, 52.0, 54.0]) == "52.0 ± 2.0"
    assert mean_and_deviation([50.0]) == "50.0"
    assert mean_and_deviation([50.0, float("nan")]) == ""
    assert markdown.signed(np.array([1.0, 2.0])) == "+1.5 ± 0.7"
    assert markdown.signed(np.array([-1.0, -1.0])) == "-1.0 ± 0.0"


@pytest.mark.slow
def test_every_run_is_scored_and_the_tables_hold_their_means(project):
    settings = student_params()
    settings["datasets"]["coco"]["test"] = settings["datasets"]["coco"]["train"]
    settings["evaluate"] = {**settings.get("evaluate", {}), "name": "tiny"}
    results = Path("results/experiment/tables/tiny")
    scores_of = Path("results/experiment/scores/tiny")
    from stages import prepare

    prepare.run(project_of(settings), log=lambda line: None)
    teach.run(project_of(settings), "tiny", "cpu", log=lambda line: None)
    write(Path(), FILE)
    with pytest.raises(UserError, match="run `pipeline experiment train control --seed 0`"):
        score.run(project_of(settings), device="cpu", log=lambda line: None)
    for name in NAMES:
        train.run(project_of(settings), name, device="cpu", log=lambda line: None)
    with pytest.raises(UserError, match="run `pipeline experiment score control`"):
        table.run(project_of(settings), log=lambda line: None)
    score.run(project_of(settings), device="cpu", log=lambda line: None)
    table.run(project_of(settings), log=lambda line: None)

    scores = {(name, each["seed"]): each for name in NAMES for each in read_runs("tiny", name)}
    assert scores["control", 0]["steps"] == 6
    assert "test" not in scores["sharpening-off", 0]
    expected = np.mean([scores["offline-4", seed]["average"] for seed in (0, 1)])
    text = (results / "table.md").read_text()
    assert {path.name for path in results.glob("*.png")} == {"arms.png", "passes.png", "conditions.png"}
    row = next(line for line in text.splitlines() if line.startswith("| offline-4 |"))
    assert row.split("|")[3].strip().startswith(f"{expected:.1f} ± ")
    with open(results / "runs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], int(row["seed"])) for row in rows] == [
        (name, seed) for name in NAMES for seed in ((0, 1) if name in FILE["headline"] else (0,))
    ]
    assert "| offline-4 | 2 | " in text and "Not scored yet" not in text
    (scores_of / "few-control.json").unlink()
    runs = read_runs("tiny", "offline-4")
    (scores_of / "offline-4.json").write_text(json.dumps(runs[:1]))
    # Scores of an arm that takes more views than params.yaml has now stay in the tables.
    write(Path(), {**FILE, "arms": {**FILE["arms"], "sharpening-off": {**CHANGE, "view_count": 99}}})
    table.run(project_of(settings), log=lambda line: None)
    write(Path(), FILE)
    assert "\nsharpening-off," in (results / "runs.csv").read_text()
    text = (results / "table.md").read_text()
    assert "Not scored yet: offline-4 with seed 1, few-control (`pipeline experiment run ARM`)" in text
    assert "few labels" not in text and "| teacher tiny |" in text
    assert {path.name for path in results.glob("*.png")} == {"arms.png", "passes.png"}
    for plot in results.glob("*.png"):
        assert plot.read_bytes().startswith(b"\x89PNG")

    # Scores of another day are kept, those of a training of another length are not mixed with these.
    shutil.rmtree("data/experiment/students/offline-4/1")
    (scores_of / "offline-4.json").write_text(json.dumps(runs))
    lines: list[str] = []
    score.run(project_of(settings), device="cpu", log=lines.append)
    assert read_runs("tiny", "offline-4") == runs
    assert "offline-4 with seed 1: not trained here, not scored now" in lines
    kept = json.dumps(runs)
    fewer = {**settings, "evaluate": {**settings["evaluate"], "resamples": 7}}
    for number, (change, other, reason) in enumerate(
        (
            ({"steps": 7}, settings, "had 7 steps, seed 0 has 6"),
            ({"recipe": "another"}, settings, "was trained with other settings than seed 0"),
            ({}, fewer, "was judged on other people, metrics or resamples than seed 0"),
        ),
        start=1,
    ):
        before = json.dumps([runs[0], {**runs[1], **change}])
        (scores_of / "offline-4.json").write_text(before)
        lines.clear()
        score.run(project_of(other), "offline-4", 0, device="cpu", log=lines.append)
        assert [run["seed"] for run in read_runs("tiny", "offline-4")] == [0]
        aside = [path for path in scores_of.glob("offline-4.*.json") if path.read_text() == before]
        assert len(aside) == 1 and len(list(scores_of.glob("offline-4.*.json"))) == number
        expected = f"seed 1 {reason}, so that its scores, 1 in all, were set aside in {aside[0].name}"
        assert lines[0] == f"results/experiment/scores/tiny/offline-4.json: {expected}"
    with pytest.raises(
        UserError, match="offline-4 was judged on other people, metrics or resamples than control: run `pipeline"
    ):
        table.run(project_of(settings), log=lambda line: None)
    (scores_of / "offline-4.json").write_text(kept)
    score.run(project_of(settings), "offline-4", 0, device="cpu", log=lambda line: None)
    assert read_runs("tiny", "offline-4") == runs

    # Another number of threads is like another machine: such students belong to the others.
    training = {**settings["distill"]["training"], "threads": 7}
    with_threads = {**settings, "distill": {**settings["distill"], "training": training}}
    lines.clear()
    score.run(project_of(with_threads), "offline-4", 0, device="cpu", log=lines.append)
    assert read_runs("tiny", "offline-4") == runs and not [line for line in lines if "aside" in line]

    untested = {
        **settings,
        "datasets": {"coco": {k: v for k, v in settings["datasets"]["coco"].items() if k != "test"}},
    }
    with pytest.raises(UserError, match="expected one with a `train` and a `test` part, as the average is over these"):
        score.run(project_of(untested), device="cpu", log=lambda line: None)

    # A student of another profile, which params.yaml no longer describes, is not scored as one of this profile.
    other = {**settings, "distill": {**settings["distill"], "min_score": 0.9}}
    with pytest.raises(
        UserError, match=r"distill\.min_score was 0\.\d+, is 0\.9: run `pipeline experiment train control --seed 0`"
    ):
        score.run(project_of(other), device="cpu", log=lambda line: None)
    write(Path(), {**FILE, "arms": {**FILE["arms"], "control": {"datasets": ["coco"], "label_drop": 0.1}}})
    with pytest.raises(
        UserError, match=r"has another `arm` than experiments/arms\.yaml: run `pipeline experiment train"
    ):
        score.run(project_of(settings), "control", device="cpu", log=lambda line: None)
    write(Path(), {**FILE, "arms": {name: {**arm, "datasets": ["none"]} for name, arm in FILE["arms"].items()}})
    with pytest.raises(
        UserError, match=r"arms\.yaml: expected arms whose datasets, teachers and views params\.yaml has, found none"
    ):
        score.run(project_of(settings), device="cpu", log=lambda line: None)


@pytest.mark.parametrize("content", ["{", "[1]", '[{"seed": 0}]', '{"seed": 0}'])
def test_a_file_of_scores_that_holds_something_else_is_named(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    scores_path("tiny", "control").parent.mkdir(parents=True)
    scores_path("tiny", "control").write_text(content)
    with pytest.raises(
        UserError, match=r"scores/tiny/control\.json: expected the scores of control, found .*: delete it, or"
    ):
        read_runs("tiny", "control")


@pytest.mark.parametrize("name", [None, "../elsewhere", "a b"])
def test_a_profile_needs_a_name_that_is_a_folder(project, name):
    settings = student_params()
    settings["evaluate"] = {"name": name}
    with pytest.raises(UserError, match=r"evaluate\.name: expected the name of folders in results/experiment"):
        profile_name(project_of(settings))


def test_what_a_score_is_of_is_in_its_judges(project):
    """The same people by another metric, or with other sigmas, are judged otherwise."""
    settings = student_params()
    before = judges_digest(project_of(settings))
    assert judges_digest(project_of(settings)) == before
    settings["datasets"]["coco"]["score"] = "pck"
    assert judges_digest(project_of(settings)) != before


def test_teachers_that_were_judged_otherwise_do_not_stand_in_the_table(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({"judges": "those of then", "stage_one": [], "scores": {}}))
    assert table._read_teachers(path, "those of then") == ([], {})
    with pytest.raises(UserError, match="teachers were judged on other people, metrics or resamples than control: run"):
        table._read_teachers(path, "those of today")


def test_two_scorings_at_once_keep_all_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def add(seed: int) -> None:
        run = {
            "arm": "control",
            "seed": seed,
            "steps": 1,
            "parameters": 1,
            "recipe": "",
            "judges": "",
            "validation": {},
        }
        add_run("tiny", run)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert [run["seed"] for run in read_runs("tiny", "control")] == list(range(24))


def test_columns_are_the_main_scores_and_those_over_shared_keypoints():
    test = {"coco": {"AP": 1, "AP50": 2}, "lsp": {"PCK-12@0.2 torso": 1, "NME": 3}, "halpe": {"AP-17": 3, "AP-20": 4}}
    assert markdown.test_columns({"test": test}) == ["coco AP", "lsp PCK-12@0.2 torso", "halpe AP-17", "halpe AP-20"]
