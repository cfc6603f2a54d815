"""Tables of all runs of the comparison: mean and spread over the seeds, differences and costs, as Markdown, CSV and JSON."""

import dataclasses
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.documents import csv_bytes, json_bytes, markdown_table
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.metrics.bootstrap import Score
from stages.evaluate.seeds import mean_and_deviation, seed_difference
from stages.experiment.arms import CONTROL, DISTILLED, Experiment, load_experiment
from stages.experiment.costs import StoreCost, store_cost
from stages.experiment.plots import Point, arms_plot, conditions_plot, lengths_plot, passes_plot
from stages.experiment.results import (
    SUMMARY,
    TABLES,
    Run,
    StageOneCost,
    profile_name,
    read_runs,
    scores_path,
    teachers_path,
)
from stages.project.datasets import PrepareSettings
from stages.project.project import Project

Pairs = dict[str, tuple[list[float], list[float]]]
"""By condition the averages of CONTROL and DISTILLED under it, by seed."""

Runs = dict[str, list[Run]]
"""The runs of each arm by its name, one per seed."""


def run(project: Project, log: Callable[[str], None] = print) -> None:
    """Read the scores of all runs and write table.md, runs.csv and plots to results/experiment/tables/PROFILE, and SUMMARY.

    Arms and seeds that are not scored yet are left out and named. UserError where CONTROL or DISTILLED is not scored.
    """
    experiment, profile = load_experiment(), profile_name(project)
    possible = experiment.possible(project)
    runs = {name: of_arm for name in possible if (of_arm := read_runs(profile, name))}
    for name in (CONTROL, DISTILLED):
        if name not in runs:
            raise UserError(f"{scores_path(profile, name)}: not found: run `pipeline experiment score {name}`")
    views = project.section("prepare", PrepareSettings).views
    stage_one, teachers = _read_teachers(teachers_path(profile))
    main = [name for name in experiment.main if name in runs]
    costs = {name: store_cost(experiment.arms[name], stage_one, views) for name in main}
    pairs = _pairs(experiment, runs)
    text = "\n".join(
        [
            arms_table(runs, costs, teachers),
            differences_table(experiment, {name: runs[name] for name in main}),
            *_keypoint_tables(project, main, runs),
            *([conditions_table(pairs)] if len(pairs) > 1 else []),
            ablations_table(experiment, runs),
            _note(experiment, _missing(experiment, possible, runs)),
        ]
    )
    columns = ["average", *_test_columns(runs[CONTROL][0])]
    results = TABLES / profile
    with exclusive(results, remove_lock_file=True):
        write_atomically(results / "table.md", text.encode())
        write_atomically(results / "runs.csv", _csv([run for of_arm in runs.values() for run in of_arm]))
        write_atomically(SUMMARY, json_bytes({profile: _summary(runs)}))
        arms_plot(
            {name: {column: [_value(run, column) for run in runs[name]] for column in columns} for name in main},
            {name: {column: _value(scores, column) for column in columns} for name, scores in teachers.items()},
            results / "arms.png",
        )
        passes_plot(_points(experiment, runs, costs), results / "passes.png")
        conditions_plot(pairs, results / "conditions.png")
        lengths_plot(_lengths(experiment, runs), results / "lengths.png")
    log(text)
    log(f"{results}: written")


def arms_table(runs: Runs, costs: dict[str, StoreCost], teachers: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a row per arm that has a cost, and the teachers below.

    Its columns are the number of seeds, test scores, as mean ± standard deviation over the seeds, and the cost of both stages.
    """
    first_run = runs[next(iter(costs))][0]
    columns = [*_test_columns(first_run), *first_run["lacking"]]
    heads = [
        "arm",
        "seeds",
        "average",
        *columns,
        "stage one: crops",
        "CPU s",
        "MB",
        "stage two: teacher crops",
        "CPU s",
    ]
    lines = []
    for name, cost in costs.items():
        of_arm = runs[name]
        cells = [mean_and_deviation([_value(run, key) for run in of_arm]) for key in ("average", *columns)]
        first = [f"{cost.crops:,}", f"{cost.cpu_seconds:.0f}", f"{cost.megabytes:.1f}"] if cost.crops else ["", "", ""]
        passes, seconds = of_arm[0]["passes"], np.mean([run["cpu_seconds"] for run in of_arm])
        lines.append([name, str(len(of_arm)), *cells, *first, f"{passes:,}" if passes else "", f"{seconds:.0f}"])
    for name, scores in teachers.items():
        cells = [_one_digit(_value(scores, key)) for key in ("average", *columns)]
        lines.append([name, "", *cells, *[""] * 5])
    return markdown_table(heads, lines)


def differences_table(experiment: Experiment, runs: Runs) -> str:
    """Return a Markdown table of each arm's test average less CONTROL's, and less that of the better arm of one dataset.

    Differences are over the seeds that both arms have. The interval is of 95 %, over the seeds and the test images. It is bold where it
    leaves out 0.
    """
    single = [name for name in runs if len(experiment.arms[name].datasets) == 1]
    best = max(single, key=lambda name: float(np.mean([run["average"] for run in runs[name]])), default=CONTROL)
    bases = list(dict.fromkeys([CONTROL, best]))
    heads = ["difference of averages [95 % interval]", *(f"less {base} (seeds)" for base in bases)]
    lines = [
        [name, *(_difference(runs[base], runs[name]) if name != base else "" for base in bases)]
        for name in runs
        if bases != [name]
    ]
    return markdown_table(heads, lines)


def _difference(first: list[Run], second: list[Run]) -> str:
    seeds, difference = paired_difference(first, second)
    if not seeds:
        return "no common seed"
    low, high = difference.interval
    text = f"{difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}** ({seeds})" if low > 0 or high < 0 else f"{text} ({seeds})"


def keypoints_table(dataset: str, runs: Runs, marked: Collection[str] = ()) -> str:
    """Return a Markdown table of the PCK@0.1 of each keypoint on the test people of a neutral set, the mean over the seeds, by arm.

    Left and right are averaged. `marked` keypoints have an asterisk. Those that no arm gives are left out.
    """
    given = [k for of_arm in runs.values() for k, value in of_arm[0]["keypoints"][dataset].items() if value is not None]
    columns = list(dict.fromkeys(_without_side(keypoint) for keypoint in given))
    lines = []
    for name, of_arm in runs.items():
        by_column: dict[str, list[float]] = {column: [] for column in columns}
        for keypoint, value in ((k, v) for run in of_arm for k, v in run["keypoints"][dataset].items()):
            if _without_side(keypoint) in columns:
                by_column[_without_side(keypoint)].append(float("nan") if value is None else float(value))
        lines.append([name, *(_one_digit(float(np.mean(values))) for values in by_column.values())])
    stars = {_without_side(keypoint) for keypoint in marked}
    heads = [column.replace("_", " ") + "*" * (column in stars) for column in columns]
    return markdown_table([f"{dataset}: PCK@0.1", *heads], lines)


def _keypoint_tables(project: Project, main: Sequence[str], runs: Runs) -> list[str]:
    """Return a table for each neutral set, with the keypoints marked that not every trained dataset labels."""
    labelled = [dataset.skeleton.keypoints for dataset in project.trained_datasets.values() if dataset.labels_train]
    marked = {keypoint for of_one in labelled for keypoint in of_one if not all(keypoint in each for each in labelled)}
    return [
        keypoints_table(dataset, {name: runs[name] for name in main}, marked)
        for dataset in runs[CONTROL][0]["keypoints"]
    ]


def _without_side(keypoint: str) -> str:
    return keypoint.removeprefix("left_").removeprefix("right_")


def paired_difference(first: list[Run], second: list[Run]) -> tuple[int, Score]:
    """Return the number of seeds that two arms share, and the mean difference of their averages, resampled over seeds and images."""
    of_first, of_second = (
        {run["seed"]: Score(run["average"], np.array(run["resampled"], float)) for run in runs}
        for runs in (first, second)
    )
    return seed_difference(of_first, of_second)


def conditions_table(pairs: Pairs) -> str:
    """Return a Markdown table of the test averages of control and distilled student by condition, with the difference by seed."""
    lines = [
        [name, mean_and_deviation(control), mean_and_deviation(distilled), signed(np.subtract(distilled, control))]
        for name, (control, distilled) in pairs.items()
    ]
    return markdown_table(["condition", CONTROL, DISTILLED, "difference"], lines)


def ablations_table(experiment: Experiment, runs: Runs) -> str:
    """Return a Markdown table of the validation averages of CONTROL, DISTILLED and the ablations, with their differences by seed.

    An ablation with teachers is compared with DISTILLED, one without with CONTROL.
    """
    averages = {name: {run["seed"]: run["validation"]["average"] for run in of_arm} for name, of_arm in runs.items()}
    lines = []
    for name in (CONTROL, DISTILLED, *(name for name in experiment.ablations if name in runs)):
        values, other = averages[name], DISTILLED if experiment.arms[name].teachers else CONTROL
        apart = np.array([value - averages[other][seed] for seed, value in values.items() if seed in averages[other]])
        difference = "" if name == other else f"{signed(apart)} to {other}"
        lines.append([name, str(len(values)), mean_and_deviation(list(values.values())), difference])
    return markdown_table(["arm", "seeds", "average on validation people", "difference"], lines)


def signed(values: np.ndarray) -> str:
    """Return the mean with its sign ± standard deviation."""
    text = mean_and_deviation(values.tolist())
    return text if text.startswith("-") else f"+{text}"


def _test_columns(run: Run) -> list[str]:
    """Return the columns of test scores, as `dataset score`."""
    shown = ("AP", "PCKh@0.5", "PCK@0.2 torso", "AP-17", "AP-20")
    return [f"{dataset} {key}" for dataset, scores in run["test"].items() for key in shown if key in scores]


def _value(run: Run, column: str) -> float:
    """Return the score of a column, NaN where it is missing."""
    flat = {"average": run.get("average"), **run.get("lacking", {})}
    flat |= {f"{dataset} {key}": value for dataset, scores in run["test"].items() for key, value in scores.items()}
    value = flat.get(column)
    return float("nan") if value is None else float(value)


def _read_teachers(path: Path) -> tuple[list[StageOneCost], dict[str, dict[str, Any]]]:
    """Read the costs of stage one, and the teachers' test scores by `teacher NAME`; UserError where the file is missing or invalid."""
    try:
        document = json.loads(path.read_text())
        return [StageOneCost(**entry) for entry in document["stage_one"]], dict(document["scores"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: expected the teachers' scores and the cost of stage one, found none: run `pipeline experiment score`"
        ) from error


def _pairs(experiment: Experiment, runs: Runs) -> Pairs:
    """Return by condition the averages of control and distilled student, by seed; the first pair is that without a change."""
    names = {"as it is": (CONTROL, DISTILLED), **experiment.conditions}
    seeds = experiment.seeds[: experiment.other_seeds]

    def averages(arm: str) -> list[float]:
        return [run["average"] for run in runs[arm] if run["seed"] in seeds]

    return {
        condition: (averages(control), averages(distilled))
        for condition, (control, distilled) in names.items()
        if control in runs and distilled in runs
    }


def _points(experiment: Experiment, runs: Runs, costs: dict[str, StoreCost]) -> list[Point]:
    """Return the joint arms as points of the plot over the crops that teachers are run on, in both stages."""
    joint = set(experiment.arms[CONTROL].datasets)
    return [
        Point(name, cost.crops + runs[name][0]["passes"], [run["average"] for run in runs[name]])
        for name, cost in costs.items()
        if joint <= set(experiment.arms[name].datasets)
    ]


def _lengths(experiment: Experiment, runs: Runs) -> dict[str, list[tuple[int, list[float]]]]:
    """Return of CONTROL and DISTILLED the steps, and the validation averages by seed, of the arms that differ in length alone."""
    lengths: dict[str, list[tuple[int, list[float]]]] = {}
    for base in (CONTROL, DISTILLED):
        same = [
            name for name in runs if dataclasses.replace(experiment.arms[name], length=1.0) == experiment.arms[base]
        ]
        points = [(runs[name][0]["steps"], [run["validation"]["average"] for run in runs[name]]) for name in same]
        lengths[base] = sorted(points)
    return lengths


def _csv(runs: list[dict[str, Any]]) -> bytes:
    rows = [
        {
            **{key: run[key] for key in ("arm", "seed", "steps", "seconds", "cpu_seconds", "passes", "parameters")},
            **{f"validation {name}": value for name, value in run["validation"].items()},
            **({"average": run["average"]} if "average" in run else {}),
            **{f"{name} {key}": v for name, scores in run.get("test", {}).items() for key, v in scores.items()},
            **run.get("lacking", {}),
        }
        for run in runs
    ]
    return csv_bytes(list(dict.fromkeys(key for row in rows for key in row)), rows)


def _summary(runs: Runs) -> dict[str, Any]:
    """Return the means over the seeds by arm, for `dvc metrics`."""
    return {
        name: {
            **({"average": float(np.mean([run["average"] for run in of_arm]))} if "average" in of_arm[0] else {}),
            "validation": float(np.mean([run["validation"]["average"] for run in of_arm])),
        }
        for name, of_arm in runs.items()
    }


def _missing(experiment: Experiment, possible: Sequence[str], runs: Runs) -> list[str]:
    """Return the arms without scores, and those that lack seeds, with these."""
    missing = []
    for name in possible:
        seeds = [seed for seed in experiment.seeds_of(name) if seed not in {run["seed"] for run in runs.get(name, [])}]
        if name not in runs:
            missing.append(name)
        elif seeds:
            missing.append(f"{name} with seed {' and '.join(map(str, seeds))}")
    return missing


def _note(experiment: Experiment, missing: Sequence[str]) -> str:
    left_out = f" Not scored yet: {', '.join(missing)} (`pipeline experiment run ARM`)." if missing else ""
    return (
        f"Mean ± standard deviation over the seeds of {', '.join(map(str, experiment.seeds))} that an arm was trained with; differences "
        "are taken seed by seed, and their intervals are over seeds and test images. `average` is of COCO AP and MPII PCKh@0.5. "
        "`not in coco`: mean PCK@0.1, on the neutral set, of the keypoints that dataset does not label. Keypoints with an asterisk are "
        "labelled by one of the trained datasets alone. "
        "CPU seconds of stage one are its crops times the measured seconds of a crop, reading included; "
        f"megabytes are the arm's share of the store of all views.{left_out}\n"
    )


def _one_digit(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"
