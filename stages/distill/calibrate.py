"""`calibrate`: measures each teacher's offset from each dataset's labels from its stores, and the corrections that `distill` applies."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cache.targets import TargetStore
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.spec import NetworkSpec
from pipeline.training.calibration import Calibration, calibrate
from stages.project.datasets import TRAIN, load_people, load_views
from stages.project.project import Project
from stages.stores.decode import decoded_poses
from stages.stores.targets import open_target_store

CALIBRATION_FILE = Path("data/calibration.json")

MAX_PEOPLE = 5000
"""About so many people are decoded at most. That determines an offset to a hundredth of the spread of the residuals."""


def run(project: Project, min_score: float, log: Callable[[str], None] = print) -> None:
    """Measure every listed teacher on every labelled dataset with a training part; print tables and write data/calibration.json."""
    datasets = [name for name, dataset in project.datasets.items() if dataset.labels_train]
    teachers = [project.teacher(name) for name in project.teacher_names]
    if not teachers:
        raise UserError(
            "params.yaml: teachers: expected at least one to calibrate, found none: see params/ for examples"
        )
    calibrations: list[Calibration] = []
    with progress(len(datasets) * len(teachers), "calibrating", "stores") as bar:
        for dataset in datasets:
            people = load_people(dataset, TRAIN)
            views = load_views(dataset, TRAIN, people)
            for teacher in teachers:
                store = open_target_store(project, teacher.name, dataset, TRAIN, people, views)
                calibrations.append(measure_calibration(teacher.name, teacher.spec, dataset, people, store, min_score))
                bar.update(1)
    own_dataset = {teacher.name: teacher.dataset for teacher in teachers}
    on_own_dataset = {c.teacher: c for c in calibrations if c.dataset == own_dataset[c.teacher]}
    for calibration in calibrations:
        reference = on_own_dataset.get(calibration.teacher)
        for line in calibration_table(calibration, None if reference is calibration else reference):
            log(line)
    documents = [calibration_document(calibration) for calibration in calibrations]
    with exclusive(CALIBRATION_FILE, remove_lock_file=True):
        write_atomically(CALIBRATION_FILE, (json.dumps(documents, indent=1) + "\n").encode())
    log(f"{CALIBRATION_FILE}: written")


def measure_calibration(
    teacher: str,
    spec: NetworkSpec,
    dataset: str,
    people: People,
    store: TargetStore,
    min_score: float,
    limit: int = MAX_PEOPLE,
) -> Calibration:
    """Measure a teacher's offset from the labels of the store's people, of whom about `limit`, evenly spread, are decoded."""
    poses = _poses(store, spec, people, limit)
    return calibrate(teacher, dataset, people.rows(np.isin(people.person, poses.person)), poses, min_score)


def corrections(
    specs: dict[str, NetworkSpec], dataset: str, people: People, stores: dict[str, TargetStore], min_score: float
) -> dict[str, np.ndarray]:
    """Return by teacher the image pixels by which its keypoints of each person are to be moved to agree with the labels.

    They are float32 (N, teacher's K, 2) for N people.
    """
    return {
        teacher: measure_calibration(teacher, spec, dataset, people, stores[teacher], min_score).correction(
            spec.skeleton, people.box
        )
        for teacher, spec in specs.items()
    }


def calibration_table(calibration: Calibration, reference: Calibration | None) -> list[str]:
    """Return lines with offset and standard error of each keypoint, in percent of the longer box side.

    Where `reference`, the same teacher's calibration on another dataset, is given, they hold the difference from it as well.
    Significant offsets have an asterisk.
    """
    offset, error, count = 100 * calibration.offset, 100 * calibration.error, calibration.count
    lines = [
        f"teacher {calibration.teacher} on {calibration.dataset}: "
        "offset in % of the longer box side, to the right and down"
    ]
    for k, keypoint in enumerate(calibration.keypoints):
        (x, y), (error_x, error_y) = offset[k], error[k]
        line = f"  {keypoint:<15} {x:+6.2f} ± {error_x:.2f} {y:+6.2f} ± {error_y:.2f}  {count[k]:>6} labels"
        if reference is not None and keypoint in reference.keypoints:
            row = reference.keypoints.index(keypoint)
            difference = 100 * (calibration.offset[k] - reference.offset[row])
            line += f"  {difference[0]:+6.2f} {difference[1]:+6.2f} against {reference.dataset}"
        lines.append(line + ("  *" if calibration.significant()[k].any() else ""))
    return lines


def calibration_document(calibration: Calibration) -> dict[str, Any]:
    """Return the calibration as JSON values, with None where nothing is measured."""

    def plain(values: np.ndarray) -> list[list[float | None]]:
        return [[round(float(v), 6) if np.isfinite(v) else None for v in row] for row in values]

    return {
        "teacher": calibration.teacher,
        "dataset": calibration.dataset,
        "unit": "longer box side",
        "keypoints": list(calibration.keypoints),
        "offset": plain(calibration.offset),
        "error": plain(calibration.error),
        "count": calibration.count.tolist(),
    }


def _poses(store: TargetStore, spec: NetworkSpec, people: People, limit: int) -> Poses:
    """Return the teacher's poses of the people in use of some of the store's shards, about `limit` of them."""
    shards = store.layout.shards
    used = max(1, int(people.use.sum()))
    count = min(shards, max(1, round(shards * limit / used)))
    selected = np.unique(np.linspace(0, shards - 1, count).astype(int)).tolist()
    return decoded_poses(store, spec, people, shards=selected)
