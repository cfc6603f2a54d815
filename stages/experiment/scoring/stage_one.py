"""Measures the cost of stage one: CPU seconds of a crop on this machine, and megabytes of the existing stores."""

import time

import numpy as np

from cache.backend import backend_of
from pipeline.common.errors import UserError
from pipeline.inference.online_teacher import online_teacher
from pipeline.inference.session import open_teacher
from pipeline.people.images import read_image, safe_path
from pipeline.pose.crops import crop
from stages.experiment.results import StageOneCost
from stages.project.datasets import TRAIN, load_people, load_views
from stages.project.project import Project
from stages.project.students import StudentConfig
from stages.project.teachers import teach_command
from stages.stores.targets import store_location

TIMED_PEOPLE = 64
"""Number of people that a teacher is timed on, in all their views, reading of the images included."""


def measured_costs(project: Project, arms: list[StudentConfig]) -> list[StageOneCost]:
    """Measure the cost of every store, of a teacher and a dataset, that at least one of the arms reads."""
    pairs = dict.fromkeys((t, d) for arm in arms if arm.reads_stores for t in arm.teachers for d in arm.datasets)
    return [_cost(project, teacher, dataset) for teacher, dataset in pairs]


def _cost(project: Project, teacher: str, dataset: str) -> StageOneCost:
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    images = project.dataset(dataset).images(TRAIN)
    store = store_location(project, teacher, dataset, TRAIN)
    sizes = backend_of(store).sizes()
    if not sizes:
        raise UserError(f"{store}: no such target store: run `{teach_command(teacher)}`")
    used = np.flatnonzero(people.use)
    timed = used[:TIMED_PEOPLE]
    settings = project.teacher(teacher)
    online = online_teacher(open_teacher(teacher, settings.onnx, settings.spec, "auto", precision=settings.precision))
    start = time.process_time()
    crops = []
    for row in timed:
        image = read_image(safe_path(images, str(people.image[row])), people.image_wh[row])
        affines = online.spec.input_from_image(views.regions(row, slice(None)))
        crops.append(crop(image, affines, online.spec.input_wh))
    for view in range(len(views)):
        of_view = np.stack([of_person[view] for of_person in crops])
        online.targets(people.rows(timed), views.rows(timed, slice(view, view + 1)), of_view)
    seconds = (time.process_time() - start) / (len(timed) * len(views))
    return StageOneCost(teacher, dataset, len(used), seconds * len(used), sum(sizes.values()) / len(views) / 1e6)
