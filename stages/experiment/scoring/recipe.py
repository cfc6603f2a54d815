"""Says whether scores belong together: what a student was trained with, and on whom it was judged, each as a digest."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cache.fingerprint import array_digest
from pipeline.common.errors import UserError
from stages.evaluate.results import EvaluateSettings
from stages.experiment.arms import ARMS, run_folder
from stages.project.datasets import TEST, VALIDATION, load_people
from stages.project.project import Project
from stages.project.students import StudentConfig, recorded_config
from stages.students.settings import recipe, settings_of

ROUNDING_ONLY = ("threads", "compile")
"""Settings of a training that change how sums are rounded, as another machine does: like another seed, so scores belong together."""


def recipe_digest(project: Project, arm: str, config: StudentConfig, seed: int) -> str:
    """Return the sha256 of an arm's settings, without its seed and ROUNDING_ONLY.

    UserError where the student in the arm's folder was trained with other ones: params.yaml or arms.yaml have changed since.
    """
    folder = run_folder(arm, seed)
    path = folder / "student.json"
    try:
        recorded = _comparable(json.loads(path.read_text()).get("settings"))
        same_arm = recorded_config(folder) == config
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: expected what a student was trained with, found {error}: {_retrain(arm, seed, folder)}"
        ) from error
    now = _comparable(recipe(settings_of(project, arm, config)))
    if not same_arm:
        raise UserError(f"{path}: has another `arm` than {ARMS}: {_retrain(arm, seed, folder)}")
    if recorded != now:
        raise UserError(
            f"{path}: was trained with other settings than params.yaml has: {_first_change(recorded, now)}: "
            f"{_retrain(arm, seed, folder)}"
        )
    return hashlib.sha256(json.dumps([vars(config), now], sort_keys=True).encode()).hexdigest()


def judges_digest(project: Project) -> str:
    """Return the sha256 of what a score is of: metrics, keypoints, validation and test people, resamples.

    Scores of other ones cannot be compared.
    """
    settings = project.section("evaluate", EvaluateSettings)
    total = hashlib.sha256(f"{settings.resamples} {project.seed}".encode())
    total.update(repr(project.skeleton.keypoints).encode())
    for name, dataset in project.datasets.items():
        skeleton = dataset.skeleton
        judged_by = (name, dataset.score, dataset.labels_train, skeleton.keypoints, skeleton.sigmas)
        total.update(repr(judged_by).encode())
        for split in (VALIDATION, TEST):
            if split not in dataset.splits:
                continue
            people = load_people(name, split)
            arrays = (people.person, people.image, people.use, people.crowd, people.box, people.area, people.keypoints)
            total.update(array_digest(*arrays, people.labelled, people.head_box).encode())
    return total.hexdigest()


def _comparable(settings: Any) -> Any:
    """Return a recipe without ROUNDING_ONLY; what is none stays as it is."""
    if not isinstance(settings, dict) or not isinstance(settings.get("training"), dict):
        return settings
    training = {name: value for name, value in settings["training"].items() if name not in ROUNDING_ONLY}
    return {**settings, "training": training}


def _first_change(recorded: Any, now: dict[str, Any]) -> str:
    if not isinstance(recorded, dict):
        return "it was trained by an earlier version, which did not keep them"
    before, after = _flat(recorded), _flat(now)
    key = next(key for key in (*after, *before) if before.get(key) != after.get(key))
    return f"distill.{key} was {before.get(key)}, is {after.get(key)}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their keys with dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _retrain(arm: str, seed: int, folder: Path) -> str:
    return f"run `pipeline experiment train {arm} --seed {seed}`, or move {folder} away"
