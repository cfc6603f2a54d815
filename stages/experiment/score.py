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
from pipeline.metrics.bootstrap import draw_resamples
from pipeline.metrics.model_scores import ModelScores, scores_of_model
from pipeline.people.people import People
from pipeline.pose.options import Device
from stages.evaluate.inference import poses_in_boxes
from stages.evaluate.models import Model, student_in_folder
from stages.experiment.arms import COST_FILE, STAGE_ONE, load_experiment, run_folder, scores_path
from stages.experiment.stage_one import measured_costs
from stages.project.datasets import TEST, VALIDATION, DatasetSettings, load_people
from stages.project.project import Project


def run(
    project: Project,
    name: str | None = None,
    seed: int | None = None,
    device: Device = "auto",
    log: Callable[[str], None] = print,
) -> None:
    """Write data/experiment/scores/NAME.json of every arm, and the cost of stage one; with `name` only that arm's scores.

    Scored are the students of all seeds of arms.yaml, or of `seed`. UserError where a student is not trained.
    """
    experiment = load_experiment()
    arms = list(experiment.arms) if name is None else [name]
    seeds = experiment.seeds if seed is None else (seed,)
    with progress(len(arms) * len(seeds), "scoring", "students") as bar:
        for arm in arms:
            experiment.arm(arm)
            tested = arm not in experiment.ablations
            runs = []
            for number in seeds:
                cost = _cost(arm, number)
                scores = _scores(project, arm, number, device, tested)
                runs.append({"arm": arm, "seed": number, **cost, **scores})
                bar.update(1)
            write_atomically(scores_path(arm), json_bytes(runs))
            mean = float(np.mean([scores["validation"]["average"] for scores in runs]))
            log(f"{arm}: {mean:.1f} on validation people, mean of {len(runs)} seeds")
    if name is None:
        costs = measured_costs(project, list(experiment.main.values()))
        write_atomically(STAGE_ONE, json_bytes([vars(cost) for cost in costs]))


def _cost(name: str, seed: int) -> dict[str, Any]:
    path = run_folder(name, seed) / COST_FILE
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not found: run `pipeline experiment train {name} --seed {seed}`") from error


def _scores(project: Project, name: str, seed: int, device: Device, tested: bool) -> dict[str, Any]:
    """Return `validation` scores by dataset and on average; where `tested`, also `test` scores, their average and `lacking`."""
    datasets = project.datasets
    model = student_in_folder(run_folder(name, seed), device, flip=False)
    trained = {name: dataset for name, dataset in project.trained_datasets.items() if dataset.labels_train}
    validation = {name: _accuracy(model, dataset, load_people(name, VALIDATION)) for name, dataset in trained.items()}
    document: dict[str, Any] = {"validation": validation | {"average": float(np.mean(list(validation.values())))}}
    if not tested:
        return document
    test: dict[str, dict[str, float]] = {}
    lacking: dict[str, float] = {}
    averaged = []
    for name, dataset in datasets.items():
        if not dataset.test:
            continue
        truth = load_people(name, TEST)
        poses = poses_in_boxes(model, truth, dataset.images(TEST), int)
        no_resamples = draw_resamples(truth.image_id, 0, [0])
        scores = scores_of_model(dataset.score, dataset.labels_train, truth, poses, project.skeleton, no_resamples)
        test[name] = {key: score.value for key, score in scores.scores.items()}
        if dataset.labels_train:
            averaged.append(accuracy(dataset.score, truth, poses)[1])
        else:
            lacking |= {f"{name}: not in {other}": value for other, value in _lacking(scores, trained).items()}
    return document | {"test": test, "average": float(np.mean(averaged)), "lacking": lacking}


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
