"""One run of the comparison: an arm trained with a seed, scored, and what it cost. Tables over all runs are made elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import write_atomically
from pipeline.networks.run import Device
from pipeline.people.people import People
from pipeline.scores.bootstrap import resample
from stages.datasets import TEST, VALIDATION, DatasetSettings, dataset_settings, load_people, unified
from stages.distill import train_arm
from stages.evaluation.inference import poses_in_boxes
from stages.evaluation.models import Model, model_named
from stages.evaluation.results import as_json
from stages.evaluation.scored import Scored, scored
from stages.evaluation.scores import accuracy
from stages.experiment.arms import load_experiment, run_folder

SCORES = "scores.json"


def run(
    params: dict[str, Any],
    name: str,
    seed: int | None = None,
    device: Device = "auto",
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Train the arm of that name with the seed, or with each of the file's, and write data/experiment/NAME-SEED."""
    experiment = load_experiment()
    arm = experiment.arm(name)
    for each in experiment.seeds if seed is None else (seed,):
        folder = run_folder(name, each)
        cost = train_arm(params, f"{name}-{each}", arm, folder, each, device, resume, say)
        document = {"arm": name, "seed": each, **vars(cost)}
        document |= scores_of(params, folder, device, tested=name not in experiment.ablations)
        write_atomically(folder / SCORES, as_json(document))
        say(f"{folder}: {document['validation']['average']:.1f} on validation people")


def scores_of(params: dict[str, Any], folder: Path, device: Device, tested: bool) -> dict[str, Any]:
    """`validation` by dataset and on average; where `tested`, the test parts' scores, their average, and `lacking`."""
    datasets = dataset_settings(params)
    model = model_named(params, str(folder), device, flip=False)
    trained = {name: dataset for name, dataset in datasets.items() if dataset.train and dataset.labelled}
    validation = {name: _judged(model, dataset, load_people(name, VALIDATION)) for name, dataset in trained.items()}
    document: dict[str, Any] = {"validation": validation | {"average": float(np.mean(list(validation.values())))}}
    if not tested:
        return document
    skeleton = unified(params)
    test: dict[str, dict[str, float]] = {}
    lacking: dict[str, float] = {}
    averaged = []
    for name, dataset in datasets.items():
        if not dataset.test:
            continue
        truth = load_people(name, TEST)
        poses = poses_in_boxes(model, truth, dataset.images(TEST), int)
        found = scored(dataset, truth, poses, skeleton, resample(truth.image_id, 0, [0]))
        test[name] = {key: score.value for key, score in found.scores.items()}
        if dataset.train:
            averaged.append(accuracy(dataset, truth, poses)[1])
        else:
            lacking |= {f"{name}: not in {other}": value for other, value in _lacking(found, trained).items()}
    return document | {"test": test, "average": float(np.mean(averaged)), "lacking": lacking}


def _judged(model: Model, dataset: DatasetSettings, people: People) -> float:
    return accuracy(dataset, people, poses_in_boxes(model, people, dataset.images(VALIDATION), int))[1]


def _lacking(found: Scored, trained: dict[str, DatasetSettings]) -> dict[str, float]:
    """By trained dataset: mean PCK@0.1 of the keypoints that it does not label, on a neutral set."""
    names, values = found.keypoints["keypoint"], np.array(found.keypoints["PCK@0.1"], float)
    all_known = {k for dataset in trained.values() for k in dataset.skeleton.keypoints}
    lacks = {
        name: [k in all_known and k not in dataset.skeleton.keypoints for k in names]
        for name, dataset in trained.items()
    }
    return {name: float(np.nanmean(values[mask])) for name, mask in lacks.items() if any(mask)}
