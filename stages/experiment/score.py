"""Scores the trained arms of the comparison, and measures the cost of stage one. The tables are made by stages.experiment.table."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.common.documents import json_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.progress import progress
from pipeline.metrics.accuracy import accuracy
from pipeline.metrics.model_scores import ModelScores
from pipeline.people.people import People
from pipeline.pose.options import Device
from stages.evaluate.inference import poses_in_boxes
from stages.evaluate.models import Model, student_in_folder
from stages.evaluate.parts import DatasetPart
from stages.evaluate.results import EvaluateSettings, average_score
from stages.evaluate.run import score_part
from stages.experiment.arms import (
    STAGE_ONE,
    Experiment,
    load_experiment,
    read_runs,
    run_folder,
    scores_path,
)
from stages.experiment.stage_one import measured_costs
from stages.project.datasets import TEST, VALIDATION, DatasetSettings, load_people
from stages.project.project import Project
from stages.project.students import COST_FILE


def run(
    project: Project,
    name: str | None = None,
    seed: int | None = None,
    device: Device = "auto",
    log: Callable[[str], None] = print,
) -> None:
    """Write results/experiment/scores/NAME.json of every possible arm, and the cost of stage one; with `name` only that arm's scores.

    Scored are the students of all seeds of an arm, or of `seed`, which leaves the scores of other seeds. UserError where a student
    is not trained. Arms of `ablations` are scored on validation people alone.
    """
    experiment = load_experiment()
    arms = experiment.possible(project) if name is None else [name]
    runs = [(arm, number) for arm in arms for number in (experiment.seeds_of(arm) if seed is None else (seed,))]
    with progress(len(runs), "scoring", "students") as bar:
        for arm in arms:
            experiment.arm(arm)
            scored = []
            for number in (number for of_arm, number in runs if of_arm == arm):
                cost = _cost(arm, number)
                scored.append({"arm": arm, "seed": number, **cost, **_scores(project, experiment, arm, number, device)})
                bar.update(1)
            kept = [] if seed is None else [run for run in read_runs(arm) if run["seed"] != seed]
            path = scores_path(arm)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json_bytes(sorted([*kept, *scored], key=lambda run: run["seed"])))
            mean = float(np.mean([scores["validation"]["average"] for scores in scored]))
            log(f"{arm}: {mean:.1f} on validation people, mean of {len(scored)} seeds")
    if name is None:
        costs = measured_costs(project, [arm for key, arm in experiment.main.items() if key in arms])
        write_atomically(STAGE_ONE, json_bytes([vars(cost) for cost in costs]))


def _cost(name: str, seed: int) -> dict[str, Any]:
    path = run_folder(name, seed) / COST_FILE
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not found: run `pipeline experiment train {name} --seed {seed}`") from error


def _scores(project: Project, experiment: Experiment, name: str, seed: int, device: Device) -> dict[str, Any]:
    """Return `validation` scores by dataset and on average.

    Of arms that are no ablation also the `test` scores, their `average`, its values on the resamples of the test images, and
    `lacking`.
    """
    model = student_in_folder(run_folder(name, seed), device, flip=False)
    trained = {name: dataset for name, dataset in project.trained_datasets.items() if dataset.labels_train}
    validation = {name: _accuracy(model, dataset, load_people(name, VALIDATION)) for name, dataset in trained.items()}
    document: dict[str, Any] = {"validation": validation | {"average": float(np.mean(list(validation.values())))}}
    if name in experiment.ablations:
        return document
    count = project.section("evaluate", EvaluateSettings).resamples
    datasets = {name: dataset for name, dataset in project.datasets.items() if dataset.test}
    scores = {}
    for part_name, dataset in datasets.items():
        part = DatasetPart(part_name, dataset, TEST, load_people(part_name, TEST))
        scores[part_name], _ = score_part(model, part, None, project.skeleton, count, project.seed, int)
    average = average_score(scores, datasets)
    lacking = {
        f"{part}: not in {other}": value
        for part in datasets
        if not datasets[part].labels_train
        for other, value in _lacking(scores[part], trained).items()
    }
    return document | {
        "test": {part: {key: score.value for key, score in of_part.scores.items()} for part, of_part in scores.items()},
        "average": average.value,
        "resampled": [round(value, 3) for value in average.resampled.tolist()],
        "lacking": lacking,
    }


def _accuracy(model: Model, dataset: DatasetSettings, people: People) -> float:
    name, value = accuracy(dataset.score, people, poses_in_boxes(model, people, dataset.images(VALIDATION), int))
    if np.isnan(value):
        raise UserError(
            f"validation people: expected some that {name} can be computed of, found none of {len(people)}: "
            "raise prepare.validation in params.yaml, then run `pipeline prepare`"
        )
    return value


def _lacking(scores: ModelScores, trained: dict[str, DatasetSettings]) -> dict[str, float]:
    """Return by trained dataset the mean PCK@0.1, on a neutral set, of the keypoints that only other datasets label."""
    names, values = scores.keypoints["keypoint"], np.array(scores.keypoints["PCK@0.1"], float)
    trained_keypoints = {k for dataset in trained.values() for k in dataset.skeleton.keypoints}
    lacking = {
        name: [k in trained_keypoints and k not in dataset.skeleton.keypoints for k in names]
        for name, dataset in trained.items()
    }
    return {name: float(np.nanmean(values[mask])) for name, mask in lacking.items() if any(mask)}
