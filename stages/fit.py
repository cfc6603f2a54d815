"""Stage `fit`: a teacher from a dataset's own labels, for the sample and for whoever has a dataset but no teacher."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.networks.build import NetworkSettings
from pipeline.networks.export import export_onnx
from pipeline.networks.run import Device, torch_device
from pipeline.spec import spec_values
from stages.datasets import TRAIN, PrepareSettings, dataset_settings, load_people, load_views, named
from stages.params import parse, settings
from stages.teachers import teacher_settings
from stages.training import Task, TrainingSettings, training, write_curve
from stages.training_data import Geometry, Loader, Source


@dataclass(frozen=True)
class FitSettings:
    teachers: list[str] = field(default_factory=list)
    """Those that `dvc repro` fits."""
    width: Annotated[int, Ge(8)] = 48
    depth: Annotated[int, Ge(1)] = 1
    """Of the network, see pipeline.networks.pyramid."""
    training: dict[str, Any] = field(default_factory=dict)
    """TrainingSettings that differ from the defaults."""


def run(
    params: dict[str, Any],
    teacher: str,
    device: Device = "auto",
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Train the network on the labels of the teacher's dataset and write its ONNX file, its spec and its curve."""
    wanted = teacher_settings(params, teacher)
    datasets = dataset_settings(params)
    dataset = named(datasets, wanted.dataset)
    if dataset.train is None:
        raise UserError(f"params.yaml: teachers.{teacher}.dataset: {wanted.dataset} has no `train` part to learn from")
    spec = wanted.spec
    if spec.skeleton != dataset.skeleton:
        raise UserError(
            f"params.yaml: teachers.{teacher}.skeleton: expected {dataset.skeleton.name}, "
            f"which {wanted.dataset} labels, found {spec.skeleton.name}"
        )
    if spec.kind != "heatmap_logits" or any(side % 32 for side in spec.input_wh):
        raise UserError(
            f"params.yaml: teachers.{teacher}: to be fitted it wants kind heatmap_logits and an input of multiples of 32, "
            f"found {spec.kind} and {list(spec.input_wh[::-1])}"
        )
    chosen = settings(params, "fit", FitSettings)
    people = load_people(wanted.dataset, TRAIN)
    source = Source(wanted.dataset, dataset.images(TRAIN), people, load_views(wanted.dataset, TRAIN, people), {})
    task = Task(
        name=f"teacher-{teacher}",
        network=NetworkSettings(width=chosen.width, depth=chosen.depth),
        spec=spec,
        sources=[source],
        teachers={},
        weights={"truth": 1.0},
        floor=0.0,
        temperature=1.0,
        fresh=settings(params, "prepare", PrepareSettings).rotation,
        settings=parse(chosen.training, "fit.training", TrainingSettings),
        seed=int(params.get("seed", 0)),
    )
    with training(task, torch_device(device), resume, say) as trained:
        if trained.first:
            say(f"teacher {teacher}: {trained.steps} steps in {trained.seconds:.0f} s")
            difference = export_onnx(trained.network, spec, wanted.onnx, real_crops(task))
            write_atomically(
                wanted.onnx.with_suffix(".json"), (json.dumps(spec_values(spec), indent=1) + "\n").encode()
            )
            write_curve(trained.curve, wanted.onnx.with_suffix(".csv"))
            say(f"{wanted.onnx}: ONNX Runtime within {difference:.1e} of torch")


def real_crops(task: Task) -> np.ndarray:
    """Crops uint8 (8, H, W, 3) of training people, to check an export on."""
    geometry = Geometry(fresh=None, settle=0, scale=0.0, shift=0.0, flip=0.0)
    return Loader(task.sources, task.spec, 8, geometry, task.seed, 0).load(0).crops
