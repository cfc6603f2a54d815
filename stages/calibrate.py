"""`calibrate`: how far each teacher's keypoints lie from each dataset's labels, from its stores; and what `distill` moves them by."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cache.lock import exclusive
from cache.targets import TargetStore
from pipeline.calibration import Calibration, calibrate
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.outputs import keypoints
from pipeline.people.people import People
from pipeline.scores.poses import Poses, poses_of
from pipeline.spec import NetworkSpec
from stages.datasets import TRAIN, dataset_settings, load_people, load_views
from stages.progress import progress
from stages.stores import open_store
from stages.teachers import listed_teachers, teacher_settings

RESULT = Path("data/calibration.json")
PEOPLE = 5000
"""At most about so many people are decoded: enough for a hundredth of the spread."""


def run(params: dict[str, Any], floor: float, say: Callable[[str], None] = print) -> None:
    """Measure every listed teacher on every dataset with a training part, print a table and write data/calibration.json."""
    datasets = {
        name: dataset for name, dataset in dataset_settings(params).items() if dataset.train and dataset.labelled
    }
    teachers = [teacher_settings(params, name) for name in listed_teachers(params)]
    if not teachers:
        raise UserError(
            "params.yaml: teachers: expected at least one to calibrate, found none: see params/ for examples"
        )
    found: list[Calibration] = []
    with progress(len(datasets) * len(teachers), "calibrating", "stores") as bar:
        for name in datasets:
            people = load_people(name, TRAIN)
            views = load_views(name, TRAIN, people)
            for teacher in teachers:
                store = open_store(params, teacher.name, name, TRAIN, people, views)
                found.append(calibration(teacher.name, teacher.spec, name, people, store, floor))
                bar.update(1)
    own = {teacher.name: teacher.dataset for teacher in teachers}
    for one in found:
        at_home = next((c for c in found if c.teacher == one.teacher and c.dataset == own[one.teacher]), None)
        for line in table(one, at_home if one.dataset != own[one.teacher] else None):
            say(line)
    with exclusive(RESULT, passing=True):
        write_atomically(RESULT, (json.dumps([as_json(one) for one in found], indent=1) + "\n").encode())
    say(f"{RESULT}: written")


def calibration(
    teacher: str, spec: NetworkSpec, dataset: str, people: People, store: TargetStore, floor: float, limit: int = PEOPLE
) -> Calibration:
    """The teacher's offset from the labels of the store's people, of whom about `limit` are decoded, evenly spread over the store."""
    poses = _poses(store, spec, people, limit)
    return calibrate(teacher, dataset, people.rows(np.isin(people.person, poses.person)), poses, floor)


def corrections(
    specs: dict[str, NetworkSpec], dataset: str, people: People, stores: dict[str, TargetStore], floor: float
) -> dict[str, np.ndarray]:
    """Per teacher float32 (N, its K, 2): by how many image pixels its keypoints of each person are to be moved to meet the labels."""
    return {
        teacher: calibration(teacher, spec, dataset, people, stores[teacher], floor).correction(
            spec.skeleton, people.box
        )
        for teacher, spec in specs.items()
    }


def table(one: Calibration, at_home: Calibration | None) -> list[str]:
    """Lines for people: per keypoint offset and error in percent of the longer box side, and the difference to its own dataset's."""
    lines = [f"teacher {one.teacher} on {one.dataset}: offset in % of the longer box side, to the right and down"]
    for k, keypoint in enumerate(one.keypoints):
        (x, y), (error_x, error_y) = 100 * one.offset[k], 100 * one.error[k]
        line = f"  {keypoint:<15} {x:+6.2f} ± {error_x:.2f} {y:+6.2f} ± {error_y:.2f}  {one.count[k]:>6} labels"
        if at_home is not None and keypoint in at_home.keypoints:
            more = 100 * (one.offset[k] - at_home.offset[at_home.keypoints.index(keypoint)])
            line += f"  {more[0]:+6.2f} {more[1]:+6.2f} against {at_home.dataset}"
        lines.append(line + ("  *" if one.significant()[k].any() else ""))
    return lines


def as_json(one: Calibration) -> dict[str, Any]:
    """The measurement for other programs; None where nothing is measured."""

    def plain(values: np.ndarray) -> list[list[float | None]]:
        return [[round(float(v), 6) if np.isfinite(v) else None for v in row] for row in values]

    return {
        "teacher": one.teacher,
        "dataset": one.dataset,
        "unit": "longer box side",
        "keypoints": list(one.keypoints),
        "offset": plain(one.offset),
        "error": plain(one.error),
        "count": one.count.tolist(),
    }


def _poses(store: TargetStore, spec: NetworkSpec, people: People, limit: int) -> Poses:
    """Poses, from view 0, of the people in use of some of the store's boundaries."""
    layout = store.layout
    used = max(1, int(people.use.sum()))
    wanted = min(layout.boundaries, max(1, round(layout.boundaries * limit / used)))
    rows, points, scores = [], [np.empty((0, len(spec.skeleton), 2))], [np.empty((0, len(spec.skeleton)))]
    for boundary in np.unique(np.linspace(0, layout.boundaries - 1, wanted).astype(int)).tolist():
        span = layout.rows(boundary)
        use = people.use[span]
        rows.append(np.flatnonzero(use) + span.start)
        if use.any():
            block = store.read(span, view=0)
            points.append(keypoints(block.maps(use, 0), block.image_from_target[use, 0], spec))
            scores.append(block.score[use, 0].astype(np.float64))
    return poses_of(people.rows(np.concatenate(rows)), spec.skeleton, np.concatenate(points), np.concatenate(scores))
