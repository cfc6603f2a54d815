"""Makes the tables and plots of all scored runs of the comparison. Nothing is scored here."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.documents import csv_bytes, json_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from stages.experiment.arms import CONTROL, DISTILLED, Experiment, load_experiment
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
from stages.experiment.tables.costs import StoreCost, store_cost
from stages.experiment.tables.markdown import (
    Pairs,
    Runs,
    ablations_table,
    arms_table,
    averages_of,
    conditions_table,
    differences_table,
    keypoint_tables,
    specialists,
    test_columns,
    value_of,
)
from stages.experiment.tables.plots import Point, arms_plot, conditions_plot, lengths_plot, passes_plot
from stages.project.datasets import PrepareSettings
from stages.project.project import Project

CONDITIONS, LENGTHS = "conditions.png", "lengths.png"
"""Plots that are there only where there is something to compare."""


def run(project: Project, log: Callable[[str], None] = print) -> None:
    """Read the scores of all runs and write table.md, runs.csv and plots to results/experiment/tables/PROFILE, and SUMMARY.

    Arms and seeds that are not scored yet are left out and named. UserError where CONTROL or DISTILLED is not scored, or where an arm
    was judged on other people than CONTROL.
    """
    experiment, profile = load_experiment(), profile_name(project)
    runs = {name: of_arm for name in experiment.known(project) if (of_arm := read_runs(profile, name))}
    for name in (CONTROL, DISTILLED):
        if name not in runs:
            raise UserError(f"{scores_path(profile, name)}: not found: run `pipeline experiment score {name}`")
    for name, of_arm in runs.items():
        if of_arm[0].get("judges") != runs[CONTROL][0].get("judges"):
            raise UserError(
                f"{scores_path(profile, name)}: {name} was judged on other people, metrics or resamples than {CONTROL}: run `pipeline "
                f"experiment score {name}`, and the same for {CONTROL}, or take away what was judged differently"
            )
    views = project.section("prepare", PrepareSettings).views
    stage_one, teachers = _read_teachers(teachers_path(profile), runs[CONTROL][0].get("judges"))
    main = [name for name in experiment.main if name in runs]
    costs = {name: store_cost(experiment.arms[name], stage_one, views) for name in main}
    pairs = _pairs(experiment, runs)
    text = "\n".join(
        [
            arms_table(runs, costs, teachers, specialists(project, experiment, runs)),
            differences_table(experiment, {name: runs[name] for name in main}),
            *keypoint_tables(project, main, runs),
            *([conditions_table(pairs)] if len(pairs) > 1 else []),
            ablations_table(experiment, runs),
            _note(experiment, _missing(experiment, experiment.possible(project), runs)),
        ]
    )
    columns = ["average", *test_columns(runs[CONTROL][0])]
    results = TABLES / profile
    with exclusive(results, remove_lock_file=True):
        write_atomically(results / "table.md", text.encode())
        write_atomically(results / "runs.csv", _csv([run for of_arm in runs.values() for run in of_arm]))
        write_atomically(SUMMARY, json_bytes({profile: _summary(runs)}))
        arms_plot(
            {name: {column: [value_of(run, column) for run in runs[name]] for column in columns} for name in main},
            {name: {column: value_of(scores, column) for column in columns} for name, scores in teachers.items()},
            results / "arms.png",
        )
        passes_plot(_points(experiment, runs, costs), results / "passes.png")
        if len(pairs) > 1:
            conditions_plot(
                {name: (averages_of(a), averages_of(b)) for name, (a, b) in pairs.items()}, results / CONDITIONS
            )
        else:
            (results / CONDITIONS).unlink(missing_ok=True)
        lengths = _lengths(experiment, runs)
        if any(len(points) > 1 for points in lengths.values()):
            lengths_plot(lengths, results / LENGTHS)
        else:
            (results / LENGTHS).unlink(missing_ok=True)
    log(text)
    log(f"{results}: written")


def _read_teachers(path: Path, judges: str | None) -> tuple[list[StageOneCost], dict[str, dict[str, Any]]]:
    """Read the costs of stage one, and the teachers' test scores by `teacher NAME`.

    UserError where the file is missing or invalid, or where teachers had other `judges` than the students.
    """
    try:
        document = json.loads(path.read_text())
        costs, scores = [StageOneCost(**entry) for entry in document["stage_one"]], dict(document["scores"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: expected the teachers' scores and the cost of stage one, found none: run `pipeline experiment score`"
        ) from error
    if document.get("judges") != judges:
        raise UserError(
            f"{path}: teachers were judged on other people, metrics or resamples than {CONTROL}: run `pipeline experiment score`"
        )
    return costs, scores


def _pairs(experiment: Experiment, runs: Runs) -> Pairs:
    """Return by condition the runs of control and distilled student; the first pair is that without a change."""
    names = {"as it is": (CONTROL, DISTILLED), **experiment.conditions}
    seeds = experiment.seeds[: experiment.other_seeds]

    def of(arm: str) -> list[Run]:
        return [run for run in runs[arm] if run["seed"] in seeds]

    return {
        condition: (of(control), of(distilled))
        for condition, (control, distilled) in names.items()
        if control in runs and distilled in runs
    }


def _points(experiment: Experiment, runs: Runs, costs: dict[str, StoreCost]) -> list[Point]:
    """Return the joint arms as points of the plot over the crops that teachers are run on, in both stages."""
    joint = set(experiment.arms[CONTROL].datasets)
    return [
        Point(name, cost.crops + runs[name][0]["passes"], averages_of(runs[name]))
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
        "are taken seed by seed, and their intervals are over seeds and test images; of one seed they are over the images alone, and never "
        "bold. `average` is of COCO AP and MPII PCKh@0.5. † counts keypoints as missed that the model does not give. "
        "`not in coco`: mean PCK@0.1, on the neutral set, of the keypoints that dataset does not label. Keypoints with an asterisk are "
        "labelled by one of the trained datasets alone. "
        "CPU seconds of stage one are its crops times the measured seconds of a crop, reading included, those of "
        "stage two are of the seed that took least; "
        f"megabytes are the arm's share of the store of all views.{left_out}\n"
    )
