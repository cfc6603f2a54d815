"""What stage one costs an arm: crops that teachers look at, CPU seconds at the speed measured now, and its share of the stores."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.place import place_of
from pipeline.crops import crop
from pipeline.errors import UserError
from pipeline.people.pictures import read_picture, safe_path
from stages.datasets import TRAIN, DatasetSettings, dataset_settings, load_people, load_views, named
from stages.online import online_teacher
from stages.stores import store_place
from stages.students import Arm
from stages.teachers import teach_command

PEOPLE = 64
"""Whom a teacher is timed on, in all their views, reading included."""


@dataclass(frozen=True)
class StageOne:
    """Of one teacher over one dataset's training people, per view."""

    crops: int
    cpu_seconds: float
    megabytes: float


def stage_one_costs(params: dict[str, Any], arms: list[Arm]) -> dict[tuple[str, str], StageOne]:
    """Per teacher and dataset that any of the arms needs a store of."""
    wanted = dict.fromkeys((t, d) for arm in arms if arm.reads_stores for t in arm.teachers for d in arm.datasets)
    datasets = dataset_settings(params)
    return {(t, d): _cost(params, t, d, named(datasets, d)) for t, d in wanted}


def cost_of(arm: Arm, costs: dict[tuple[str, str], StageOne], views: int) -> StageOne:
    """Of all an arm's stores, at the views it uses of the `views` there are."""
    used = 0 if not arm.reads_stores else 1 if arm.draws_views else arm.view_count or views
    parts = [costs[t, d] for t in arm.teachers for d in arm.datasets] if used else []
    return StageOne(
        used * sum(part.crops for part in parts),
        used * sum(part.cpu_seconds for part in parts),
        used * sum(part.megabytes for part in parts),
    )


def _cost(params: dict[str, Any], teacher: str, dataset: str, settings: DatasetSettings) -> StageOne:
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    store = store_place(params, teacher, dataset, TRAIN)
    sizes = place_of(store).sizes()
    if not sizes:
        raise UserError(f"{store}: no such target store: run `{teach_command(teacher)}`")
    used = np.flatnonzero(people.use)
    some = used[:PEOPLE]
    teach, _ = online_teacher(params, teacher, "auto")
    start = time.process_time()
    crops = []
    for row in some:
        picture = read_picture(safe_path(settings.images(TRAIN), str(people.image[row])), people.image_wh[row])
        crops.append(crop(picture, teach.spec.input_from_image(views.regions(row, slice(None))), teach.spec.input_wh))
    for view in range(len(views)):
        teach.look(people.rows(some), views.only(some, view), np.stack([each[view] for each in crops]))
    seconds = (time.process_time() - start) / (len(some) * len(views))
    return StageOne(len(used), seconds * len(used), sum(sizes.values()) / len(views) / 1e6)
