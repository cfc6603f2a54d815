"""All runs of the comparison side by side: mean and spread over the seeds, differences, costs, as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.lock import exclusive
from pipeline.errors import UserError
from pipeline.files import write_atomically
from stages.datasets import PrepareSettings
from stages.evaluation.results import as_json, markdown
from stages.experiment.arms import CONTROL, DISTILLED, Experiment, load_experiment, run_folder
from stages.experiment.costs import StageOne, cost_of, stage_one_costs
from stages.experiment.plots import Point, conditions_plot, passes_plot
from stages.experiment.run import SCORES
from stages.params import settings

RESULTS = Path("results/experiment")
METRICS = Path("results/metrics.json")


def run(params: dict[str, Any], say: Callable[[str], None] = print) -> None:
    """Read every run's scores and write table.md, runs.csv, summary.json, passes.png and conditions.png to results/experiment."""
    experiment = load_experiment()
    runs = {name: [_scores(name, seed) for seed in experiment.seeds] for name in experiment.arms}
    views = settings(params, "prepare", PrepareSettings).views
    arms = experiment.main
    measured = stage_one_costs(params, list(arms.values()))
    costs = {name: cost_of(arm, measured, views) for name, arm in arms.items()}
    text = "\n".join(
        [
            arms_table(experiment, runs, costs),
            conditions_table(experiment, runs),
            ablations_table(experiment, runs),
            _note(experiment),
        ]
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    with exclusive(RESULTS, passing=True):
        write_atomically(RESULTS / "table.md", text.encode())
        write_atomically(RESULTS / "runs.csv", _csv([each for found in runs.values() for each in found]))
        write_atomically(RESULTS / "summary.json", as_json(_summary(runs)))
        passes_plot(_points(experiment, runs, costs), RESULTS / "passes.png")
        conditions_plot(_pairs(experiment, runs), RESULTS / "conditions.png")
    say(text)
    say(f"{RESULTS}: written")


def arms_table(experiment: Experiment, runs: dict[str, list[dict[str, Any]]], costs: dict[str, StageOne]) -> str:
    """Markdown: a row per arm, test scores as mean ± standard deviation over the seeds, then what both stages took; the teachers last."""
    columns = _columns(runs[next(iter(experiment.main))][0])
    heads = ["arm", "average", *columns, "stage one: crops", "CPU s", "MB", "stage two: teacher crops", "CPU s"]
    lines = []
    for name in experiment.main:
        found, cost = runs[name], costs[name]
        cells = [mean_and_spread([_value(each, key) for each in found]) for key in ("average", *columns)]
        spent = [f"{cost.crops:,}", f"{cost.cpu_seconds:.0f}", f"{cost.megabytes:.1f}"] if cost.crops else ["", "", ""]
        passes, seconds = found[0]["passes"], np.mean([each["cpu_seconds"] for each in found])
        lines.append([name, *cells, *spent, f"{passes:,}" if passes else "", f"{seconds:.0f}"])
    for name, scores in _teachers().items():
        cells = [_one(_value(scores, key)) for key in ("average", *columns)]
        lines.append([name, *cells, *[""] * 5])
    return markdown(heads, lines)


def conditions_table(experiment: Experiment, runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: per condition the control's and the distilled student's test average, and the difference, paired by seed."""
    lines = [
        [name, mean_and_spread(control), mean_and_spread(distilled), signed(np.subtract(distilled, control))]
        for name, (control, distilled) in _pairs(experiment, runs).items()
    ]
    return markdown(["condition", CONTROL, DISTILLED, "difference"], lines)


def ablations_table(experiment: Experiment, runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: validation averages of offline-4 and of each change to it, and the difference, paired by seed."""
    reference = [each["validation"]["average"] for each in runs[DISTILLED]]
    lines = [[DISTILLED, mean_and_spread(reference), ""]]
    for name in experiment.ablations:
        values = [each["validation"]["average"] for each in runs[name]]
        lines.append([name, mean_and_spread(values), signed(np.subtract(values, reference))])
    return markdown(["change", "average on validation people", "difference"], lines)


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation (of a sample) with one digit; empty where a value is missing."""
    if not len(values) or np.isnan(values).any():
        return ""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def signed(values: np.ndarray) -> str:
    """Mean with its sign ± standard deviation."""
    text = mean_and_spread(values.tolist())
    return text if text.startswith("-") else f"+{text}"


def _scores(name: str, seed: int) -> dict[str, Any]:
    path = run_folder(name, seed) / SCORES
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not there yet: run `pipeline experiment run {name} --seed {seed}`") from error


def _columns(scores: dict[str, Any]) -> list[str]:
    """The test scores of the table, as `dataset score` or as in `lacking`."""
    wanted = ("AP", "PCKh@0.5", "AP-17", "AP-20")
    return [f"{name} {key}" for name, found in scores["test"].items() for key in wanted if key in found] + list(
        scores["lacking"]
    )


def _value(scores: dict[str, Any], key: str) -> float:
    """A score by its column, NaN where it is missing."""
    flat = {"average": scores.get("average"), **scores.get("lacking", {})}
    flat |= {f"{name} {score}": value for name, found in scores["test"].items() for score, value in found.items()}
    value = flat.get(key)
    return float("nan") if value is None else float(value)


def _teachers() -> dict[str, dict[str, Any]]:
    """The teachers' own test scores, from `pipeline evaluate`."""
    if not METRICS.is_file():
        raise UserError(f"{METRICS}: not there, for the teachers' scores: run `pipeline evaluate`")
    found = json.loads(METRICS.read_text())
    return {
        name: {
            "average": scores["average"],
            "test": {part: values for part, values in scores.items() if isinstance(values, dict)},
        }
        for name, scores in found.items()
        if name.startswith("teacher ")
    }


def _pairs(experiment: Experiment, runs: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[list[float], list[float]]]:
    """Per condition the averages of control and distilled student, by seed; first the arms themselves."""
    names = {"as it is": (CONTROL, DISTILLED), **experiment.conditions}
    return {
        title: ([each["average"] for each in runs[one]], [each["average"] for each in runs[other]])
        for title, (one, other) in names.items()
    }


def _points(experiment: Experiment, runs: dict[str, list[dict[str, Any]]], costs: dict[str, StageOne]) -> list[Point]:
    """Joint arms over the crops that teachers look at for them, in either stage."""
    everything = max(len(arm.datasets) for arm in experiment.main.values())
    return [
        Point(name, costs[name].crops + runs[name][0]["passes"], [each["average"] for each in runs[name]])
        for name, arm in experiment.main.items()
        if len(arm.datasets) == everything
    ]


def _csv(runs: list[dict[str, Any]]) -> bytes:
    rows = [
        {
            **{key: each[key] for key in ("arm", "seed", "steps", "seconds", "cpu_seconds", "passes", "parameters")},
            **{f"validation {name}": value for name, value in each["validation"].items()},
            **({"average": each["average"]} if "average" in each else {}),
            **{f"{name} {key}": v for name, scores in each.get("test", {}).items() for key, v in scores.items()},
            **each.get("lacking", {}),
        }
        for each in runs
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Means over the seeds, for `dvc metrics`."""
    return {
        name: {
            **({"average": float(np.mean([e["average"] for e in found]))} if "average" in found[0] else {}),
            "validation": float(np.mean([each["validation"]["average"] for each in found])),
        }
        for name, found in runs.items()
    }


def _note(experiment: Experiment) -> str:
    return (
        f"Mean ± standard deviation over {len(experiment.seeds)} seeds; differences are taken seed by seed. `average` is of COCO AP "
        "and MPII PCKh@0.5. `not in coco`: mean PCK@0.1, on the neutral set, of the keypoints that dataset does not label. "
        "CPU seconds of stage one are its crops at what a crop took when this table was made, reading included; "
        "megabytes are the arm's share of the store of all views.\n"
    )


def _one(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"
