"""Tables of all runs of the comparison: mean and spread over the seeds, differences and costs, as Markdown, CSV and JSON."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.documents import csv_bytes, json_bytes, markdown_table
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.metrics.bootstrap import Score
from stages.evaluate.seeds import mean_and_deviation, seed_difference
from stages.experiment.arms import (
    CONTROL,
    DISTILLED,
    RESULTS,
    Experiment,
    load_experiment,
    read_runs,
    scores_path,
)
from stages.experiment.costs import StoreCost, read_stage_one_costs, store_cost
from stages.experiment.plots import Point, conditions_plot, lengths_plot, passes_plot
from stages.project.datasets import PrepareSettings
from stages.project.project import Project

METRICS_FILE = Path("results/metrics.json")

Pairs = dict[str, tuple[list[float], list[float]]]
"""By condition the averages of CONTROL and DISTILLED under it, by seed."""

Runs = dict[str, list[dict[str, Any]]]
"""The runs of each arm by its name: per seed, the scores and the cost, as stages.experiment.score writes them."""


def run(project: Project, log: Callable[[str], None] = print) -> None:
    """Read the scores of all runs and write table.md, runs.csv, summary.json and three plots to results/experiment.

    Arms that are not scored yet are left out and named. UserError where CONTROL or DISTILLED is not scored.
    """
    experiment = load_experiment()
    possible = experiment.possible(project)
    runs = {name: of_arm for name in possible if (of_arm := read_runs(name))}
    for name in (CONTROL, DISTILLED):
        if name not in runs:
            raise UserError(f"{scores_path(name)}: not found: run `pipeline experiment score {name}`")
    views = project.section("prepare", PrepareSettings).views
    stage_one = read_stage_one_costs()
    main = [name for name in experiment.main if name in runs]
    costs = {name: store_cost(experiment.arms[name], stage_one, views) for name in main}
    pairs = _pairs(experiment, runs)
    text = "\n".join(
        [
            arms_table(runs, costs, _teachers()),
            differences_table({name: runs[name] for name in main}),
            *([conditions_table(pairs)] if len(pairs) > 1 else []),
            ablations_table(experiment, runs),
            _note(experiment, [name for name in possible if name not in runs]),
        ]
    )
    with exclusive(RESULTS, remove_lock_file=True):
        write_atomically(RESULTS / "table.md", text.encode())
        write_atomically(RESULTS / "runs.csv", _csv([run for of_arm in runs.values() for run in of_arm]))
        write_atomically(RESULTS / "summary.json", json_bytes(_summary(runs)))
        passes_plot(_points(experiment, runs, costs), RESULTS / "passes.png")
        conditions_plot(pairs, RESULTS / "conditions.png")
        lengths_plot(_lengths(experiment, runs), RESULTS / "lengths.png")
    log(text)
    log(f"{RESULTS}: written")


def arms_table(runs: Runs, costs: dict[str, StoreCost], teachers: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a row per arm that has a cost, and the teachers below.

    Its columns are the number of seeds, test scores, as mean ± standard deviation over the seeds, and the cost of both stages.
    """
    columns = _columns(runs[next(iter(costs))][0])
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


def differences_table(runs: Runs) -> str:
    """Return a Markdown table of each arm's test average less CONTROL's, over the seeds that both have.

    The interval is of 95 %, over the seeds and the test images. It is bold where it leaves out 0.
    """
    lines = []
    for name in runs:
        if name == CONTROL:
            continue
        seeds, difference = paired_difference(runs[CONTROL], runs[name])
        low, high = difference.interval
        text = f"{difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"
        lines.append([name, str(seeds), f"**{text}**" if low > 0 or high < 0 else text])
    return markdown_table([f"less {CONTROL}", "seeds", "average [95 % interval]"], lines)


def paired_difference(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> tuple[int, Score]:
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


def _columns(run: dict[str, Any]) -> list[str]:
    """Return the columns of test scores, as `dataset score` or by their names in `lacking`."""
    shown = ("AP", "PCKh@0.5", "PCK@0.2 torso", "AP-17", "AP-20")
    test = [f"{dataset} {key}" for dataset, scores in run["test"].items() for key in shown if key in scores]
    return test + list(run["lacking"])


def _value(run: dict[str, Any], column: str) -> float:
    """Return the score of a column, NaN where it is missing."""
    flat = {"average": run.get("average"), **run.get("lacking", {})}
    flat |= {f"{dataset} {key}": value for dataset, scores in run["test"].items() for key, value in scores.items()}
    value = flat.get(column)
    return float("nan") if value is None else float(value)


def _teachers() -> dict[str, dict[str, Any]]:
    """Read the teachers' test scores, which `pipeline evaluate` wrote, by `teacher NAME`."""
    if not METRICS_FILE.is_file():
        raise UserError(f"{METRICS_FILE}: not found, for the teachers' scores: run `pipeline evaluate`")
    return {
        name: {
            "average": scores["average"],
            "test": {part: values for part, values in scores.items() if isinstance(values, dict)},
        }
        for name, scores in json.loads(METRICS_FILE.read_text()).items()
        if name.startswith("teacher ")
    }


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


def _note(experiment: Experiment, missing: Sequence[str]) -> str:
    left_out = f" Not scored yet: {', '.join(missing)} (`pipeline experiment run ARM`)." if missing else ""
    return (
        f"Mean ± standard deviation over the seeds of {', '.join(map(str, experiment.seeds))} that an arm was trained with; differences "
        "are taken seed by seed, and their intervals are over seeds and test images. `average` is of COCO AP and MPII PCKh@0.5. "
        "`not in coco`: mean PCK@0.1, on the neutral set, of the keypoints that dataset does not label. "
        "CPU seconds of stage one are its crops times the measured seconds of a crop, reading included; "
        f"megabytes are the arm's share of the store of all views.{left_out}\n"
    )


def _one_digit(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"
