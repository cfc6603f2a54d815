"""Resolves what a student is trained on: its network, its people and labels, its teachers and their stores, as TrainingInputs."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from cache.targets import TargetStore
from pipeline.common.errors import UserError
from pipeline.inference.online_teacher import online_teacher
from pipeline.inference.session import Teacher, open_teacher
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.options import Device
from pipeline.training.label_noise import add_label_noise, drop_labels
from pipeline.training.loss_presets import refuse_other_teachers, term_weights
from stages.distill.calibrate import corrections
from stages.project.datasets import TRAIN, PrepareSettings, load_people, load_views
from stages.project.parsing import refuse_unknown
from stages.project.project import Project
from stages.project.students import StudentConfig
from stages.project.teachers import teach_command
from stages.stores.checks import refuse_damage
from stages.stores.crop_views import CropView, crop_view
from stages.stores.crops import verified_crop_store
from stages.stores.targets import open_target_store
from stages.students.settings import DistillSettings, network_settings, settings_of, student_spec
from stages.training.initial_weights import find_initial_weights
from stages.training.inputs import TrainingInputs
from stages.training.loader import TrainingSource

LABEL_CHANGES = 5
"""Random stream of dropped and noisy labels, beside those of stages.training.loader and stages.training.batches."""


def build_inputs(project: Project, name: str, student: StudentConfig, seed: int, device: Device) -> TrainingInputs:
    """Resolve the inputs of a student's training; UserError where its settings, data and teachers are inconsistent."""
    settings = settings_of(project, name, student)
    if any(side % 32 for side in settings.input):
        raise UserError(f"params.yaml: distill.input: expected multiples of 32, found {list(settings.input)}")
    initial_weights = find_initial_weights(settings.network, settings.start)
    _refuse_views(project, name, student, settings)
    weights = loss_weights(project, settings, student)
    teachers = {teacher: project.teacher(teacher).spec.skeleton for teacher in student.teachers}
    spec, training = student_spec(project, settings), settings.training
    online_teachers = student.teachers if student.views == "online" else []
    online = [_open_teacher(project, teacher, device, training.computing_threads) for teacher in online_teachers]
    view = crop_view(spec, training)
    sources = [_source(project, name, student, settings, view, dataset, seed) for dataset in student.datasets]
    return TrainingInputs(
        name=f"student-{name}",
        entry=Path(__file__),
        network=network_settings(settings),
        spec=spec,
        sources=sources,
        teachers=teachers,
        weights=weights,
        preset=settings.preset,
        weighting=settings.weights,
        min_score=settings.min_score,
        temperature=settings.temperature,
        fresh_rotation=project.section("prepare", PrepareSettings).rotation if student.draws_views else None,
        online={teacher.name: online_teacher(teacher) for teacher in online},
        online_teachers={t.name: [t.sha256, repr(t.spec), t.precision] for t in online},
        initial_weights=initial_weights,
        settings=training,
        seed=seed,
        loggers=project.loggers,
    )


def loss_weights(project: Project, settings: DistillSettings, student: StudentConfig) -> dict[str, float]:
    """Return the weights of truth and of the student's teachers at the first step; UserError where a weight is missing."""
    if settings.preset is not None:
        refuse_other_teachers(settings.preset, student.teachers, "params.yaml: distill.preset")
        terms = term_weights(settings.preset, 0.0)
        return {term: terms[term] for term in ("truth", *student.teachers)}
    refuse_unknown(settings.terms, ("truth", *project.teacher_names), "params.yaml: distill.terms")
    weights = {term: settings.terms.get(term, math.nan) for term in ("truth", *student.teachers)}
    for term, weight in weights.items():
        if not weight >= 0:
            raise UserError(
                f"params.yaml: distill.terms.{term}: expected a weight of at least 0, found {settings.terms.get(term)}"
            )
    return weights


def _refuse_views(project: Project, name: str, student: StudentConfig, settings: DistillSettings) -> None:
    """UserError for views that are impossible with the student's teachers, or without any."""
    where = f"params.yaml: students.{name}"
    if student.teachers and student.views == "fresh":
        raise UserError(
            f"{where}: teachers have seen the stored views only: use `views: replayed`, or run them on every crop, "
            "`views: online`"
        )
    if not student.teachers and student.views == "online":
        raise UserError(f"{where}: `views: online` needs teachers, found none: use `fresh` or `replayed`")
    if student.view_count is not None and student.draws_views:
        raise UserError(f"{where}.view_count: counts stored views, found `views: {student.views}`: leave it out")
    if settings.calibrate and student.views == "online":
        raise UserError(f"{where}: `calibrate` measures on stores, found `views: online`: set it false")


def _source(
    project: Project,
    name: str,
    student: StudentConfig,
    settings: DistillSettings,
    view: CropView,
    dataset: str,
    seed: int,
) -> TrainingSource:
    """Return a dataset's training people with the views, the labels and the stores that the student learns from."""
    dataset_settings = project.dataset(dataset)
    if dataset_settings.train is None:
        raise UserError(f"params.yaml: students.{name}.datasets: {dataset} has no `train` part")
    if not dataset_settings.labels_train and not student.teachers:
        raise UserError(
            f"params.yaml: students.{name}.teachers: expected one to learn {dataset} from, which has boxes only, found none"
        )
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    if (student.view_count or 0) > len(views):
        raise UserError(
            f"params.yaml: students.{name}.view_count: expected at most the {len(views)} of prepare.views, "
            f"found {student.view_count}"
        )
    reads_crops = settings.images == "crops" and not student.draws_views
    crops = verified_crop_store(project, dataset, people, views, view) if reads_crops else None
    stored_teachers = student.teachers if student.reads_stores else []
    stores = {teacher: _open_store(project, teacher, dataset, people, views) for teacher in stored_teachers}
    if student.label_drop or student.label_noise:
        random = np.random.default_rng(np.random.SeedSequence([seed, LABEL_CHANGES, *dataset.encode()]))
        people = add_label_noise(drop_labels(people, student.label_drop, random), student.label_noise, random)
    if not student.teachers:
        people = dataclasses.replace(people, use=people.use & people.labelled.any(axis=1))
        if not people.use.any():
            raise UserError(
                f"params.yaml: students.{name}.label_drop: expected labels left in {dataset}, found none of {len(people)} people: lower it"
            )
    moved = {}
    if settings.calibrate:
        specs = {teacher: project.teacher(teacher).spec for teacher in stores}
        moved = corrections(specs, dataset, people, stores, settings.min_score)
    used_views = views.first(1 if student.draws_views else student.view_count)
    return TrainingSource(dataset, dataset_settings.images(TRAIN), people, used_views, stores, moved, crops)


def _open_store(project: Project, teacher: str, dataset: str, people: People, views: Views) -> TargetStore:
    """Open a teacher's store for the training people, and refuse it if any of its bytes has changed since it was written."""
    targets = open_target_store(project, teacher, dataset, TRAIN, people, views)
    refuse_damage(targets.store, teach_command(teacher))
    return targets


def _open_teacher(project: Project, name: str, device: Device, threads: int) -> Teacher:
    """Open a teacher with as many threads as the training computes with."""
    settings = project.teacher(name)
    return open_teacher(name, settings.onnx, settings.spec, device, threads, settings.precision)
