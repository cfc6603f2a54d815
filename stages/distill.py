"""Stage two, `distill`: one student of the unified skeleton from the stores and the labels there are. Arms are settings of it."""

import functools
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from cache.reader import TargetStore, verify
from pipeline.errors import UserError
from pipeline.files import replace_folder
from pipeline.networks.build import PyramidSettings, Student, save_student
from pipeline.networks.run import Device, torch_device
from pipeline.people.people import People
from pipeline.spec import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec, parse_spec
from pipeline.views import Views
from stages.datasets import TRAIN, PrepareSettings, dataset_settings, load_people, load_views, named, unified
from stages.params import parse, refuse_unknown, settings
from stages.progress import progress
from stages.stores import open_store
from stages.students import STUDENTS, Arm, arm_named
from stages.teachers import listed_teachers, teach_command, teacher_settings
from stages.training import Task, TrainingSettings, discard_checkpoint, train, write_curve
from stages.training_data import Source


@dataclass(frozen=True)
class DistillSettings:
    width: Annotated[int, Ge(8)] = 32
    depth: Annotated[int, Ge(1)] = 1
    """Of the network, see pipeline.networks.pyramid."""
    input: tuple[int, int] = (128, 96)
    """Height and width of the student's crops, multiples of 32."""
    padding: Annotated[float, Ge(1), Le(2)] = 1.25
    weights: Literal["fixed"] = "fixed"
    """How the teachers' total is shared out: `fixed` as in `terms`."""
    terms: dict[str, float] = field(default_factory=lambda: {"truth": 1.0})
    """Weight of the labels and of each teacher by name; Khan et al. 2024 take 0.3, 0.25 for COCO's and 0.45 for MPII's."""
    score_floor: Annotated[float, Ge(0), Le(1)] = 0.2
    """Teacher keypoints of a lower score are not learned from."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Teacher maps are raised to 1 / temperature: below 1 sharpens them."""
    training: dict[str, Any] = field(default_factory=dict)
    """TrainingSettings that differ from the defaults."""


def run(
    params: dict[str, Any],
    student: str | None = None,
    device: Device = "auto",
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Train one arm (the first by default) and write data/students/<name>."""
    name, arm = arm_named(params, student)
    task = _task(params, name, arm)
    trained = train(task, torch_device(device), resume, say)
    people = sum(int(source.people.use.sum()) for source in task.sources)
    say(f"student {name}: {task.settings.steps} steps over {people} people in {trained.seconds:.0f} s")
    place = STUDENTS / name
    aside = place.with_name(name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    more = {"arm": vars(arm), "seconds": round(trained.seconds, 1)}
    save_student(Student(trained.network, task.network, task.spec), aside, more)
    write_curve(trained.curve, aside / "curve.csv")
    replace_folder(aside, place)
    discard_checkpoint(task.name)
    say(f"{place}: written")


def student_spec(params: dict[str, Any], chosen: DistillSettings) -> NetworkSpec:
    """What every student of these parameters wants and says."""
    values: dict[str, object] = {
        "skeleton": "unified",
        "input": list(chosen.input),
        "color": "rgb",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "padding": chosen.padding,
        "affine": "udp",
        "kind": "heatmap_logits",
    }
    return parse_spec(values, "params.yaml: distill", unified(dataset_settings(params)))


def _task(params: dict[str, Any], name: str, arm: Arm) -> Task:
    datasets = dataset_settings(params)
    chosen = settings(params, "distill", DistillSettings)
    training = parse(chosen.training, "distill.training", TrainingSettings)
    if any(side % 32 for side in chosen.input):
        raise UserError(f"params.yaml: distill.input: expected multiples of 32, found {list(chosen.input)}")
    if arm.teachers and arm.views == "fresh":
        raise UserError(
            f"params.yaml: students.{name}: teachers have seen the replayed views only: use `views: replayed`"
        )
    refuse_unknown(chosen.terms, ("truth", *listed_teachers(params)), "params.yaml: distill.terms")
    weights = {term: chosen.terms.get(term, math.nan) for term in ("truth", *arm.teachers)}
    for term, weight in weights.items():
        if not weight >= 0:
            raise UserError(
                f"params.yaml: distill.terms.{term}: expected a weight of at least 0, found {chosen.terms.get(term)}"
            )
    teachers = {teacher: teacher_settings(params, teacher).spec.skeleton for teacher in arm.teachers}
    sources = []
    for dataset in arm.datasets:
        there = named(datasets, dataset)
        if there.train is None:
            raise UserError(f"params.yaml: students.{name}.datasets: {dataset} has no `train` part")
        people = load_people(dataset, TRAIN)
        views = load_views(dataset, TRAIN, people)
        stores = {teacher: _open(params, teacher, dataset, people, views) for teacher in arm.teachers}
        sources.append(Source(dataset, there.images(TRAIN), people, views, stores))
    return Task(
        name=f"student-{name}",
        network=PyramidSettings(chosen.width, chosen.depth),
        spec=student_spec(params, chosen),
        sources=sources,
        teachers=teachers,
        weights=weights,
        floor=chosen.score_floor,
        temperature=chosen.temperature,
        fresh=settings(params, "prepare", PrepareSettings).rotation if arm.views == "fresh" else None,
        settings=training,
        seed=int(params.get("seed", 0)),
    )


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
