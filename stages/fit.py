"""Stage `fit`: trains a teacher on a dataset's own labels, for the sample and for datasets without a published teacher."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.export.onnx_export import export_onnx
from pipeline.networks.run import torch_device
from pipeline.pose.options import Device, NetworkSettings
from pipeline.pose.spec import spec_values
from stages.project.datasets import TRAIN, PrepareSettings, load_people, load_views
from stages.project.project import Project
from stages.students.training_settings import TrainingSettings
from stages.training.inputs import TrainingInputs
from stages.training.loader import CropJitter, Loader, TrainingSource
from stages.training.run import training, write_curve


@dataclass(frozen=True)
class FitSettings:
    """The section `fit` of params.yaml."""

    teachers: list[str] = field(default_factory=list)
    """Teachers that `dvc repro` fits."""
    width: Annotated[int, Ge(8)] = 48
    depth: Annotated[int, Ge(1)] = 1
    """Width and depth of the network, see pipeline.networks.pyramid."""
    training: TrainingSettings = field(default_factory=TrainingSettings)


def run(
    project: Project,
    teacher: str,
    device: Device = "auto",
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Train a network on the labels of the teacher's dataset and write its ONNX file, its spec and its curve."""
    teacher_settings = project.teacher(teacher)
    name, spec, onnx = teacher_settings.dataset, teacher_settings.spec, teacher_settings.onnx
    dataset = project.dataset(name)
    if dataset.train is None:
        raise UserError(f"params.yaml: teachers.{teacher}.dataset: {name} has no `train` part to learn from")
    if dataset.labelled and not dataset.labels_train:
        raise UserError(f"params.yaml: teachers.{teacher}.dataset: {name} trains without its labels (`labels: false`)")
    if spec.skeleton != dataset.skeleton:
        raise UserError(
            f"params.yaml: teachers.{teacher}.skeleton: expected {dataset.skeleton.name}, "
            f"which {name} labels, found {spec.skeleton.name}"
        )
    if spec.kind != "heatmap_logits" or any(side % 32 for side in spec.input_wh):
        raise UserError(
            f"params.yaml: teachers.{teacher}: to be fitted it needs kind heatmap_logits and an input of multiples of 32, "
            f"found {spec.kind} and {list(spec.input_wh[::-1])}"
        )
    settings = project.section("fit", FitSettings)
    people = load_people(name, TRAIN)
    inputs = TrainingInputs(
        name=f"teacher-{teacher}",
        entry=Path(__file__),
        network=NetworkSettings(width=settings.width, depth=settings.depth),
        spec=spec,
        sources=[TrainingSource(name, dataset.images(TRAIN), people, load_views(name, TRAIN, people), {})],
        teachers={},
        weights={"truth": 1.0},
        min_score=0.0,
        temperature=1.0,
        fresh_rotation=project.section("prepare", PrepareSettings).rotation,
        settings=settings.training,
        seed=project.seed,
        loggers=project.loggers,
    )
    with training(inputs, torch_device(device), resume, log) as trained:
        if trained.is_main:
            log(f"teacher {teacher}: {trained.steps} steps in {trained.seconds:.0f} s")
            difference = export_onnx(trained.network, spec, onnx, _real_crops(inputs))
            write_atomically(onnx.with_suffix(".json"), (json.dumps(spec_values(spec), indent=1) + "\n").encode())
            write_curve(trained.curve, onnx.with_suffix(".csv"))
            log(f"{onnx}: ONNX Runtime within {difference:.1e} of torch")


def _real_crops(inputs: TrainingInputs) -> np.ndarray:
    """Return crops uint8 (8, H, W, 3) of training people, to compare the exported file with torch on."""
    no_jitter = CropJitter(fresh_rotation=None, weak_from=0, scale=0.0, shift=0.0, flip=0.0)
    return Loader(inputs.sources, inputs.spec, 8, no_jitter, inputs.seed, 0).load(0).crops
