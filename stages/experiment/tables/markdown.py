"""The comparison's tables as Markdown: means and deviations over the seeds, and differences between arms, seed by seed."""

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from pipeline.common.documents import markdown_table
from pipeline.metrics.bootstrap import Score
from pipeline.metrics.score_names import SCORE_NAMES, SHARED_SCORE, main_score
from stages.evaluate.seeds import mean_and_deviation, seed_difference
from stages.experiment.arms import CONTROL, DISTILLED, Experiment
from stages.experiment.results import Run
from stages.experiment.tables.costs import StoreCost
from stages.project.project import Project

Runs = dict[str, list[Run]]
"""The runs of each arm by its name, one per seed."""

Pairs = dict[str, tuple[list[Run], list[Run]]]
"""By condition the runs of CONTROL and of DISTILLED under it."""

SPECIALISTS = "each dataset's own student"
"""Row of the arms that are trained on one dataset, each judged on that one: as many students as datasets, not one."""


def arms_table(
    runs: Runs, costs: dict[str, StoreCost], teachers: dict[str, dict[str, Any]], own: dict[str, list[float]]
) -> str:
    """Return a Markdown table with a row per arm that has a cost, below them `own`, the SPECIALISTS, and the teachers.

    Its columns are the number of seeds, test scores, as mean ± standard deviation over the seeds, and the cost of both stages, that of
    stage two by the seed that took least: slower machines and neighbours only add to it. A score that counts keypoints which the model
    does not give is marked †.
    """
    first_run = runs[next(iter(costs))][0]
    columns = [*test_columns(first_run), *first_run["lacking"]]
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
        cells = [
            mean_and_deviation([value_of(run, key) for run in of_arm]) + _mark(of_arm[0], key)
            for key in ("average", *columns)
        ]
        first = [f"{cost.crops:,}", f"{cost.cpu_seconds:.0f}", f"{cost.megabytes:.1f}"] if cost.crops else ["", "", ""]
        passes, seconds = of_arm[0]["passes"], min(run["cpu_seconds"] for run in of_arm)
        lines.append([name, str(len(of_arm)), *cells, *first, f"{passes:,}" if passes else "", f"{seconds:.0f}"])
    if own:
        cells = [mean_and_deviation(own.get(key, [])) for key in ("average", *columns)]
        lines.append([SPECIALISTS, str(len(own["average"])), *cells, *[""] * 5])
    for name, scores in teachers.items():
        cells = [_one_digit(value_of(scores, key)) + _mark(scores, key) for key in ("average", *columns)]
        lines.append([name, "", *cells, *[""] * 5])
    return markdown_table(heads, lines)


def specialists(project: Project, experiment: Experiment, runs: Runs) -> dict[str, list[float]]:
    """Return by column the scores of the arms of one dataset, each on that one, and their `average`, by the seeds that all have.

    Of each dataset the first arm without teachers counts. Empty where a trained dataset has no such arm, or no seed is common to all.
    """
    alone: dict[str, dict[int, Run]] = {}
    for name in experiment.main:
        arm = experiment.arms[name]
        if name in runs and len(arm.datasets) == 1 and not arm.teachers:
            alone.setdefault(arm.datasets[0], {run["seed"]: run for run in runs[name]})
    trained = [name for name, dataset in project.trained_datasets.items() if dataset.labels_train]
    seeds = sorted(set.intersection(*({*alone.get(name, {})} for name in trained))) if trained else []
    columns = {name: f"{name} {SCORE_NAMES[project.dataset(name).score]}" for name in trained}
    scores = {column: [value_of(alone[name][seed], column) for seed in seeds] for name, column in columns.items()}
    return {**scores, "average": np.mean(list(scores.values()), axis=0).tolist()} if seeds else {}


def differences_table(experiment: Experiment, runs: Runs) -> str:
    """Return a Markdown table of each arm's test average less those of CONTROL and of the headline's other arms without teachers.

    Differences are over the seeds that both arms have. The interval is of 95 %, over the seeds and the test images; of one seed it is
    over the images alone. It is bold where it is over several seeds and leaves out 0.
    """
    without = [name for name in experiment.headline if name in runs and not experiment.arms[name].teachers]
    bases = list(dict.fromkeys([CONTROL, *without]))
    heads = ["difference of averages [95 % interval]", *(f"less {base} (seeds)" for base in bases)]
    lines = [
        [name, *(_difference(runs[base], runs[name]) if name != base else "" for base in bases)]
        for name in runs
        if bases != [name]
    ]
    return markdown_table(heads, lines)


def averages_of(runs: list[Run]) -> list[float]:
    """Return the test averages of an arm's runs, 0 to 100, one per seed."""
    return [run["average"] for run in runs]


def _difference(first: list[Run], second: list[Run]) -> str:
    seeds, difference = paired_difference(first, second)
    if not seeds:
        return "no common seed"
    low, high = difference.interval
    value = round(difference.value, 1) + 0.0  # no -0.0
    if np.isnan(low):
        return f"{value:+.1f} ({seeds})"
    text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}** ({seeds})" if seeds > 1 and (low > 0 or high < 0) else f"{text} ({seeds})"


def _mark(scores: Run, column: str) -> str:
    return "†" if column in scores.get("missed", ()) else ""


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


def keypoint_tables(project: Project, main: Sequence[str], runs: Runs) -> list[str]:
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
    """Return a Markdown table of the test averages of control and distilled student by condition, with the difference seed by seed."""
    lines = [
        [name, *(mean_and_deviation(averages_of(of_arm)) for of_arm in pair), _difference(*pair)]
        for name, pair in pairs.items()
    ]
    return markdown_table(["condition", CONTROL, DISTILLED, "difference [95 % interval] (seeds)"], lines)


def ablations_table(experiment: Experiment, runs: Runs) -> str:
    """Return a Markdown table of the validation averages of CONTROL, DISTILLED and the ablations, with their differences by seed.

    An ablation with teachers is compared with DISTILLED, one without with CONTROL.
    """
    averages = {name: {run["seed"]: run["validation"]["average"] for run in of_arm} for name, of_arm in runs.items()}
    lines = []
    for name in (CONTROL, DISTILLED, *(name for name in experiment.ablations if name in runs)):
        values, other = averages[name], DISTILLED if experiment.arms[name].teachers else CONTROL
        apart = np.array([value - averages[other][seed] for seed, value in values.items() if seed in averages[other]])
        difference = f"{signed(apart)} to {other}" if len(apart) else f"no common seed with {other}"
        difference = "" if name == other else difference
        lines.append([name, str(len(values)), mean_and_deviation(list(values.values())), difference])
    return markdown_table(["arm", "seeds", "average on validation people", "difference"], lines)


def signed(values: np.ndarray) -> str:
    """Return the mean with its sign ± standard deviation."""
    text = mean_and_deviation(values.tolist())
    return text if text.startswith("-") else f"+{text}"


def test_columns(run: Run) -> list[str]:
    """Return the columns of test scores, as `dataset score`: the main score, or all over keypoints that a dataset shares."""
    return [
        f"{dataset} {key}"
        for dataset, scores in run["test"].items()
        for key in scores
        if key == main_score(scores) or re.fullmatch(SHARED_SCORE, key)
    ]


def value_of(run: Run, column: str) -> float:
    """Return the score of a column, NaN where it is missing."""
    flat = {"average": run.get("average"), **run.get("lacking", {})}
    flat |= {f"{dataset} {key}": value for dataset, scores in run["test"].items() for key, value in scores.items()}
    value = flat.get(column)
    return float("nan") if value is None else float(value)


def _one_digit(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"
