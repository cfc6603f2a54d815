"""Scores trained students and teachers of the comparison, and measures the cost of stage one. The tables are stages.experiment.tables'."""

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
from stages.evaluate.models import Model, student_in_folder, teachers_of
from stages.evaluate.parts import DatasetPart
from stages.evaluate.results import EvaluateSettings, average_score
from stages.evaluate.run import score_part
from stages.experiment.arms import ARMS, Experiment, load_experiment, run_folder
from stages.experiment.results import TEACHERS, Run, profile_name, teachers_path
from stages.experiment.scoring.kept import add_run
from stages.experiment.scoring.recipe import judges_digest, recipe_digest
from stages.experiment.scoring.stage_one import measured_costs
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
    """Write the scores of all trained students of the comparison, an entry per seed, to results/experiment/scores/PROFILE/NAME.json.

    With `name` only that arm's, with `seed` only that seed's. Without `name` the teachers are scored, too, and the cost of stage one is
    measured. Scores of students that are not here, since they were trained on another day or machine, are kept, unless they cannot be
    compared with the new ones (stages.experiment.scoring.kept). Arms of `ablations` are scored on validation people alone. UserError
    where nothing that was asked for is trained, and where a student was trained with other settings than the project has now.
    """
    experiment, profile = load_experiment(), profile_name(project)
    arms = experiment.possible(project) if name is None else [name]
    asked = [
        (arm, number)
        for arm in arms
        if experiment.arm(arm)
        for number in (experiment.seeds_of(arm) if seed is None else (seed,))
    ]
    trained = [run for run in asked if (run_folder(*run) / COST_FILE).is_file()]
    missing = [run for run in asked if run not in trained]
    if not asked:
        raise UserError(f"{ARMS}: expected arms whose datasets, teachers and views params.yaml has, found none")
    if not trained:
        arm, number = missing[0]
        raise UserError(
            f"{run_folder(arm, number) / COST_FILE}: not found: run `pipeline experiment train {arm} --seed {number}`"
        )
    if not any(dataset.test for _, dataset in _labelled(project)):
        raise UserError(
            "params.yaml: datasets: expected one with a `train` and a `test` part, as the average is over these, found none: add a "
            "`test` part"
        )
    scored: list[Run] = []
    notes: list[str] = []
    judges = judges_digest(project)
    with progress(len(trained), "scoring", "students") as bar:
        for arm, number in trained:
            scored.append({**_scored(project, experiment, arm, number, device), "judges": judges})
            if note := add_run(profile, scored[-1]):
                notes.append(note)
            bar.update(1)
    for note in notes:
        log(note)
    for arm in dict.fromkeys(run["arm"] for run in scored):
        averages = [run["validation"]["average"] for run in scored if run["arm"] == arm]
        log(f"{arm}: {np.mean(averages):.1f} on validation people, mean of {len(averages)} seeds")
    for arm in dict.fromkeys(arm for arm, _ in missing):
        seeds = " and ".join(str(number) for of_arm, number in missing if of_arm == arm)
        log(f"{arm} with seed {seeds}: not trained here, not scored now")
    if name is None:
        costs = measured_costs(project, [arm for key, arm in experiment.main.items() if key in arms])
        document = {
            "judges": judges,
            "stage_one": [vars(cost) for cost in costs],
            "scores": {model.name: _test_scores(project, model) for model in teachers_of(project, device, log)},
        }
        TEACHERS.mkdir(parents=True, exist_ok=True)
        write_atomically(teachers_path(profile), json_bytes(document))


def _scored(project: Project, experiment: Experiment, name: str, seed: int, device: Device) -> Run:
    """Return the cost of a student and its `validation` scores, and, unless it is an ablation, its `_test_scores`."""
    path, recipe = run_folder(name, seed) / COST_FILE, recipe_digest(project, name, experiment.arms[name], seed)
    try:
        cost = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(
            f"{path}: expected JSON, found {error}: delete it, then run `pipeline experiment train {name} --seed {seed}`"
        ) from error
    model = student_in_folder(run_folder(name, seed), device, flip=False)
    scores = {part: _accuracy(model, dataset, load_people(part, VALIDATION)) for part, dataset in _labelled(project)}
    validation = scores | {"average": float(np.mean(list(scores.values())))}
    tested = {} if name in experiment.ablations else _test_scores(project, model)
    return {"arm": name, "seed": seed, **cost, "recipe": recipe, "validation": validation, **tested}


def _test_scores(project: Project, model: Model) -> dict[str, Any]:
    """Return a model's `test` scores, their `average`, and its values on the resamples of the test images as `resampled`.

    On neutral sets, of which no label is trained on, also the PCK@0.1 of each keypoint, as `keypoints`, and `lacking`. `missed` are the
    columns of all these that count keypoints which the model does not give.
    """
    count = project.section("evaluate", EvaluateSettings).resamples
    datasets = {name: dataset for name, dataset in project.datasets.items() if dataset.test}
    scores = {}
    for name, dataset in datasets.items():
        part = DatasetPart(name, dataset, TEST, load_people(name, TEST))
        scores[name], _ = score_part(model, part, None, project.skeleton, count, project.seed, int)
    average = average_score(scores, datasets)
    lacking = {
        f"{part}: not in {other}": value
        for part in datasets
        if not datasets[part].labels_train
        for other, value in _lacking(scores[part], dict(_labelled(project))).items()
    }
    absent = set(project.skeleton.keypoints) - set(model.spec.skeleton.keypoints)
    missed = [
        f"{part} {key}" for part, of_part in scores.items() for key, score in of_part.scores.items() if score.missed
    ]
    return {
        "test": {part: {key: score.value for key, score in of_part.scores.items()} for part, of_part in scores.items()},
        "average": average.value,
        "resampled": [round(value, 3) for value in average.resampled.tolist()],
        "missed": [*(["average"] if average.missed else []), *missed, *(lacking if absent else [])],
        "lacking": lacking,
        "keypoints": {
            part: dict(zip(scores[part].keypoints["keypoint"], scores[part].keypoints["PCK@0.1"], strict=True))
            for part in datasets
            if not datasets[part].labels_train
        },
    }


def _labelled(project: Project) -> list[tuple[str, DatasetSettings]]:
    return [(name, dataset) for name, dataset in project.trained_datasets.items() if dataset.labels_train]


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
