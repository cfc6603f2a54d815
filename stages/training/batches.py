"""The batches of a training on their device: augmented crops as the network's input, labels and targets in the student's frame."""

from collections.abc import Iterator

import numpy as np
import torch

from pipeline.pose.spec import NetworkSpec
from pipeline.training.augment import cut_out, recolored
from pipeline.training.batch import LoadedBatch, network_input, on_device
from pipeline.training.distributed import Processes
from pipeline.training.prefetch import prefetch
from pipeline.training.simcc_labels import published_sigma
from pipeline.training.student_frame import labels_in_student_frame, targets_in_student_frame
from pipeline.training.trainer import TrainingBatch
from stages.students.training_settings import TrainingSettings
from stages.training.inputs import TrainingInputs
from stages.training.loader import Loader

APPEARANCE = 3
"""Random stream of colours and cut-outs, beside those of stages.training.loader."""


def training_batches(
    inputs: TrainingInputs, loader: Loader, first: int, stop: int, processes: Processes, device: torch.device
) -> Iterator[TrainingBatch]:
    """Return the batches of steps first to stop - 1, in order."""
    loaded = enumerate(loader.stream(first, stop, inputs.settings.workers), first)
    return prefetch(loaded, lambda item: _to_device(inputs, item[1], item[0], processes, device), device)


def label_sigma(settings: TrainingSettings, spec: NetworkSpec) -> float | tuple[float, float]:
    """Return the width of the labels: in pixels of maps, or in bins of x and of y."""
    return settings.sigma if spec.kind != "simcc" else settings.simcc_sigma or published_sigma(spec.input_wh)


def network_target_wh(spec: NetworkSpec) -> tuple[int, int]:
    """Return the width and height of the output of the project's networks: maps of a quarter of the input, or bins of half a pixel."""
    width, height = spec.input_wh
    return (width * 2, height * 2) if spec.kind == "simcc" else (width // 4, height // 4)


def _to_device(
    inputs: TrainingInputs, loaded: LoadedBatch, step: int, processes: Processes, device: torch.device
) -> TrainingBatch:
    entropy = [inputs.seed, APPEARANCE, step, *([processes.rank] if processes.rank else [])]
    stream = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return training_batch(inputs, loaded, torch.Generator().manual_seed(int(stream >> np.uint64(1))), device)


def training_batch(
    inputs: TrainingInputs, loaded: LoadedBatch, random: torch.Generator, device: torch.device
) -> TrainingBatch:
    """Return loaded people as the network's input, with labels and targets in the student's frame; colours are drawn from `random`."""
    settings, spec = inputs.settings, inputs.spec
    target_wh = network_target_wh(spec)
    crops = recolored(on_device(loaded.crops, device), settings.color, random)
    crops = cut_out(crops, settings.cut_out, random)
    teachers = {
        name: targets_in_student_frame(
            loaded,
            loaded.targets[name],
            skeleton,
            spec,
            target_wh,
            inputs.min_score,
            inputs.temperature,
            device,
            correction=loaded.corrections.get(name),
        )
        for name, skeleton in inputs.teachers.items()
    }
    truth = labels_in_student_frame(loaded, spec, target_wh, label_sigma(settings, spec), device)
    return TrainingBatch(network_input(crops, spec), truth, teachers, loaded.people)
