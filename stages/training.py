"""Training as `fit` and `distill` share it: sources, supervision per batch, checkpoint and resume, the curve."""

import csv
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from cache.layout import canonical
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.networks.build import PyramidSettings, build
from pipeline.networks.run import Precision, autocast_type
from pipeline.skeletons import Skeleton
from pipeline.spec import NetworkSpec
from pipeline.training.augment import cut_out, recolored
from pipeline.training.batch import LoadedBatch, network_input, teacher_in_frame, truth_in_frame
from pipeline.training.trainer import Recipe, Trainer, TrainingBatch
from stages.datasets import TRAIN, table_path
from stages.progress import progress
from stages.training_data import Geometry, Loader, Source

CHECKPOINTS = Path("data/checkpoints")
APPEARANCE = 3
"""Stream of randomness, beside those of stages.training_data."""

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe, shared by teachers and students."""

    steps: Annotated[int, Ge(2)] = 1000
    batch: Annotated[int, Ge(2)] = 16
    learning_rate: Positive = 0.01
    """Peak of the one-cycle schedule, AdamW."""
    warm_up: Annotated[float, Gt(0), Le(0.9)] = 0.15
    weight_decay: Annotated[float, Ge(0)] = 0.05
    clip: Positive = 5.0
    average: Annotated[float, Ge(0), Le(0.99999)] = 0.98
    """Decay of the moving average of weights, which is the network that is kept."""
    settle: Share = 0.1
    """Share of the steps, at the end, with plain and weak views only."""
    sigma: Positive = 0.8
    """Of the labels' Gaussians, in heatmap pixels."""
    scale: Share = 0.15
    shift: Share = 0.05
    """Largest jitter of a view, as a share of its size."""
    flip: Share = 0.5
    color: Share = 0.3
    cut_out: Share = 0.5
    """Probability of a hole."""
    precision: Precision = "auto"
    """Of the forward pass; `auto` is bfloat16 where the hardware computes in it."""
    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Threads that read ahead."""
    picture_memory: Annotated[float, Ge(0.01)] = 0.5
    """Gigabytes of decoded pictures kept."""
    checkpoint_seconds: Annotated[float, Ge(0)] = 60.0


@dataclass(frozen=True)
class Task:
    """What is trained on what, with every input resolved."""

    name: str
    network: PyramidSettings
    spec: NetworkSpec
    sources: list[Source]
    teachers: dict[str, Skeleton]
    weights: dict[str, float]
    """Of `truth` and of each teacher."""
    floor: float
    """Teacher scores up to this do not count."""
    temperature: float
    """Of the teachers' maps."""
    fresh: float | None
    """Fresh views each time, turned up to so many degrees, instead of the replayed ones."""
    settings: TrainingSettings
    seed: int

    def fingerprint(self, people: str) -> str:
        """Of everything the trained weights follow from, the project's code included."""
        inputs = {
            "name": self.name,
            "network": vars(self.network),
            "spec": repr(self.spec),
            "stores": {s.name: {t: store.fingerprint for t, store in s.stores.items()} for s in self.sources},
            "weights": self.weights,
            "floor": self.floor,
            "temperature": self.temperature,
            "fresh": self.fresh,
            "settings": vars(self.settings),
            "seed": self.seed,
            "people": people,
            "code": code_digest(),
        }
        return hashlib.sha256(canonical(inputs)).hexdigest()


@dataclass(frozen=True)
class Trained:
    """The averaged network, in evaluation mode on the CPU, and how it got there."""

    network: nn.Module
    curve: list[dict[str, float]]
    seconds: float


def code_digest() -> str:
    """sha256 over this project's source files that a training runs through."""
    root = Path(__file__).parent.parent
    files = sorted(file for room in ("pipeline", "cache", "stages") for file in (root / room).rglob("*.py"))
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def train(task: Task, device: torch.device, resume: bool, say: Callable[[str], None]) -> Trained:
    """Train to the end, going on from this task's checkpoint if there is one. Ctrl-C saves before it stops.

    A checkpoint of other settings, inputs or code is left aside with a line that says so; `resume` takes it all the same.
    """
    torch.manual_seed(task.seed)
    network = build(task.network, len(task.spec.skeleton)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = task.settings
    recipe = Recipe(
        chosen.steps, chosen.learning_rate, chosen.warm_up, chosen.weight_decay, chosen.clip, chosen.average
    )
    factor = task.spec.factor if task.spec.kind == "simcc" else 1.0
    trainer = Trainer(network, recipe, task.weights, autocast_type(chosen.precision, device), factor)
    fingerprint = task.fingerprint(_people_digest(task))
    checkpoint = CHECKPOINTS / f"{task.name}.pt"
    curve, sums, before = _restore(trainer, task, checkpoint, fingerprint, resume, say)
    start = time.monotonic() - before
    saved = time.monotonic()
    every = max(1, chosen.steps // 100)
    say(f"training {task.name} on {device}, {'float32' if trainer.autocast is None else 'bfloat16'}")

    def save() -> None:
        state = {
            "fingerprint": fingerprint,
            "unchangeable": _unchangeable(task),
            "trainer": trainer.state(),
            "curve": curve,
            "sums": sums,
            "seconds": time.monotonic() - start,
        }
        aside = checkpoint.with_name(checkpoint.name + ".partial")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, aside)
        os.replace(aside, checkpoint)

    with progress(chosen.steps, f"training {task.name}", "steps") as bar, _interrupt_between_steps() as interrupted:
        bar.update(trainer.steps_done)
        for batch in _batches(task, trainer.steps_done, device):
            terms = trainer.step(batch)
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            bar.update(1)
            if trainer.steps_done % every == 0:
                means = {name: value / every for name, value in sums.items()}
                curve.append({"step": float(trainer.steps_done), **means})
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()}, refresh=False)
                sums = {}
            if interrupted.is_set():
                save()
                raise KeyboardInterrupt
            if time.monotonic() - saved > chosen.checkpoint_seconds:
                save()
                saved = time.monotonic()
    save()
    return Trained(trainer.average.module.to("cpu").eval(), curve, time.monotonic() - start)


@contextmanager
def _interrupt_between_steps() -> Iterator[threading.Event]:
    """Ctrl-C as an event to look at between steps: a step that is half taken cannot be saved."""
    asked = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def discard_checkpoint(name: str) -> None:
    """Once the result is in its place the checkpoint has served."""
    (CHECKPOINTS / f"{name}.pt").unlink(missing_ok=True)


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Loss terms over steps as CSV, for `dvc plots`."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(curve[0]) if curve else ["step"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)


def _batches(task: Task, first: int, device: torch.device) -> Iterator[TrainingBatch]:
    chosen = task.settings
    geometry = Geometry(
        fresh=task.fresh,
        settle=round(chosen.steps * (1 - chosen.settle)),
        scale=chosen.scale,
        shift=chosen.shift,
        flip=chosen.flip,
    )
    loader = Loader(task.sources, task.spec, chosen.batch, geometry, task.seed, chosen.picture_memory * 1e9)
    for step, loaded in enumerate(loader.stream(first, chosen.steps, chosen.workers), first):
        yield _to_device(task, loaded, step, device)


def _to_device(task: Task, loaded: LoadedBatch, step: int, device: torch.device) -> TrainingBatch:
    chosen, spec = task.settings, task.spec
    wh = target_wh(spec)
    stream = np.random.SeedSequence([task.seed, APPEARANCE, step]).generate_state(1, np.uint64)[0]
    random = torch.Generator().manual_seed(int(stream >> np.uint64(1)))
    crops = recolored(torch.from_numpy(loaded.crops).to(device), chosen.color, random)
    inputs = network_input(cut_out(crops, chosen.cut_out, random), spec)
    teachers = {
        name: teacher_in_frame(loaded, loaded.targets[name], skeleton, spec, wh, task.floor, task.temperature, device)
        for name, skeleton in task.teachers.items()
    }
    return TrainingBatch(inputs, truth_in_frame(loaded, spec, wh, chosen.sigma, device), teachers, loaded.people)


def target_wh(spec: NetworkSpec) -> tuple[int, int]:
    """Width and height of what our own networks give: maps of a quarter of the input, or bins of half a pixel."""
    width, height = spec.input_wh
    return (width * 2, height * 2) if spec.kind == "simcc" else (width // 4, height // 4)


def _unchangeable(task: Task) -> dict[str, Any]:
    """What even `--resume` cannot change: the weights' shapes and the schedule."""
    return {"network": vars(task.network), "keypoints": len(task.spec.skeleton), "steps": task.settings.steps}


def _restore(
    trainer: Trainer, task: Task, checkpoint: Path, fingerprint: str, resume: bool, say: Callable[[str], None]
) -> tuple[list[dict[str, float]], dict[str, float], float]:
    """Curve, sums since its last point, and seconds spent, of the checkpoint that `trainer` now goes on from; else none."""
    if not checkpoint.is_file():
        return [], {}, 0.0
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        known, unchangeable = state["fingerprint"] == fingerprint, state["unchangeable"]
    except Exception as error:
        aside = checkpoint.with_suffix(".unreadable")
        os.replace(checkpoint, aside)
        say(f"{checkpoint} is not readable ({type(error).__name__}): kept as {aside}, training starts anew")
        return [], {}, 0.0
    if not known and not resume:
        say(f"{checkpoint} is of other settings, inputs or code: training starts anew (`--resume` goes on from it)")
        return [], {}, 0.0
    if unchangeable != _unchangeable(task):
        raise UserError(
            f"{checkpoint}: --resume cannot change network and steps: expected {unchangeable}, "
            f"found {_unchangeable(task)} in params.yaml: set them back, or leave --resume out to start anew"
        )
    trainer.restore(state["trainer"])
    say(f"going on from {checkpoint}, step {trainer.steps_done}")
    return list(state["curve"]), dict(state["sums"]), float(state["seconds"])


def _people_digest(task: Task) -> str:
    files = [table_path(s.name, TRAIN, what) for s in task.sources for what in ("people", "views")]
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
