"""What a student is trained on: people as it sees them, its teachers' targets, its network, gathered into one Task."""

import dataclasses
import functools
from typing import Any

import numpy as np

from cache.reader import verify
from cache.targets import TargetStore
from pipeline.errors import UserError
from pipeline.labels.impair import with_noise, without_labels
from pipeline.networks.run import Device
from pipeline.people.people import People
from pipeline.views import Views
from stages.calibrate import corrections
from stages.crops import Look, look_of, verified
from stages.datasets import TRAIN, PrepareSettings, dataset_settings, load_people, load_views, named
from stages.online import online_teacher
from stages.params import parse, settings
from stages.progress import progress
from stages.starts import start_of
from stages.stores import open_store
from stages.student_settings import DistillSettings, network_settings, settings_of, student_spec, weights_of
from stages.students import Arm
from stages.teachers import teach_command, teacher_settings
from stages.training import Task
from stages.training_data import Source
from stages.training_settings import TrainingSettings

IMPAIRMENT = 5
"""Stream of randomness, beside those of stages.training_data and stages.training."""


def task_of(params: dict[str, Any], name: str, arm: Arm, seed: int, device: Device) -> Task:
    """The task of an arm; UserError where its settings, data and teachers do not go together."""
    chosen = settings_of(params, name, arm)
    if any(side % 32 for side in chosen.input):
        raise UserError(f"params.yaml: distill.input: expected multiples of 32, found {list(chosen.input)}")
    start = start_of(chosen.network, chosen.start)
    _refuse_views(params, name, arm, chosen)
    weights = weights_of(params, chosen, arm)
    teachers = {teacher: teacher_settings(params, teacher).spec.skeleton for teacher in arm.teachers}
    online = {t: online_teacher(params, t, device) for t in arm.teachers} if arm.views == "online" else {}
    spec, training = student_spec(params, chosen), parse(chosen.training, "distill.training", TrainingSettings)
    look = look_of(spec, training)
    sources = [_source(params, name, arm, chosen, look, dataset, seed) for dataset in arm.datasets]
    return Task(
        name=f"student-{name}",
        network=network_settings(chosen),
        spec=spec,
        sources=sources,
        teachers=teachers,
        weights=weights,
        preset=chosen.preset,
        weighting=chosen.weights,
        consistency=chosen.consistency,
        floor=chosen.score_floor,
        temperature=chosen.temperature,
        fresh=settings(params, "prepare", PrepareSettings).rotation if arm.draws_views else None,
        warped=arm.views == "warped",
        online={teacher: looking for teacher, (looking, _) in online.items()},
        online_files={teacher: sha256 for teacher, (_, sha256) in online.items()},
        start=start,
        settings=training,
        seed=seed,
    )


def _refuse_views(params: dict[str, Any], name: str, arm: Arm, chosen: DistillSettings) -> None:
    """UserError for views that the arm's teachers, or their absence, do not go with."""
    where = f"params.yaml: students.{name}"
    if arm.teachers and arm.views == "fresh":
        raise UserError(
            f"{where}: teachers have seen the stored views only: use `views: replayed`, or run them on every crop, "
            "`views: online`"
        )
    if not arm.teachers and arm.views in ("warped", "online"):
        raise UserError(f"{where}: `views: {arm.views}` wants teachers, found none: use `fresh` or `replayed`")
    if arm.view_count is not None and arm.draws_views:
        raise UserError(f"{where}.view_count: counts stored views, found `views: {arm.views}`: leave it out")
    if chosen.calibrate and arm.views == "online":
        raise UserError(f"{where}: `calibrate` measures on stores, found `views: online`: set it false")
    for teacher in arm.teachers if arm.views == "warped" else []:
        if teacher_settings(params, teacher).spec.kind == "simcc":
            raise UserError(
                f"{where}.views: teacher {teacher} gives distributions over bins, which cannot be warped: use `views: replayed`"
            )


def _source(
    params: dict[str, Any], name: str, arm: Arm, chosen: DistillSettings, look: Look, dataset: str, seed: int
) -> Source:
    """A dataset's training people as the arm sees them: its views, its labels, its teachers' stores."""
    there = named(dataset_settings(params), dataset)
    if there.train is None:
        raise UserError(f"params.yaml: students.{name}.datasets: {dataset} has no `train` part")
    if not there.labelled and not arm.teachers:
        raise UserError(
            f"params.yaml: students.{name}.teachers: expected one to learn {dataset} from, which has boxes only, found none"
        )
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    if (arm.view_count or 0) > len(views):
        raise UserError(
            f"params.yaml: students.{name}.view_count: expected at most the {len(views)} of prepare.views, "
            f"found {arm.view_count}"
        )
    replays = chosen.pictures == "crops" and not arm.draws_views
    crops = verified(params, dataset, people, views, look) if replays else None
    taught_by = arm.teachers if arm.reads_stores else []
    stores = {teacher: _open(params, teacher, dataset, people, views) for teacher in taught_by}
    if arm.missing or arm.noisy:
        random = np.random.default_rng(np.random.SeedSequence([seed, IMPAIRMENT, *dataset.encode()]))
        people = with_noise(without_labels(people, arm.missing, random), arm.noisy, random)
    if not arm.teachers:
        people = dataclasses.replace(people, use=people.use & people.labelled.any(axis=1))
    moved = {}
    if chosen.calibrate:
        specs = {teacher: teacher_settings(params, teacher).spec for teacher in stores}
        moved = corrections(specs, dataset, people, stores, chosen.score_floor)
    used = views.first(1 if arm.draws_views else arm.view_count)
    return Source(dataset, there.images(TRAIN), people, used, stores, moved, crops)


def _open(params: dict[str, Any], teacher: str, dataset: str, people: People, views: Views) -> TargetStore:
    """A store that fits, byte for byte as it was written."""
    store = open_store(params, teacher, dataset, TRAIN, people, views)
    with progress(len(store.layout.files), f"verifying {store.path}", "files") as bar:
        problems = verify(store.path, functools.partial(bar.update, 1))
    if problems:
        more = " and more" if len(problems) > 1 else ""
        raise UserError(
            f"{store.path}: {problems[0]}{more}: run `{teach_command(teacher)}`, which rebuilds what is damaged"
        )
    return store
