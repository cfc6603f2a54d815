"""Training as `fit` and `distill` share it: sources, supervision per batch, checkpoint and resume, the curve."""

import csv
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from cache.layout import canonical
from cache.lock import exclusive
from pipeline.files import sha256, write_atomically
from pipeline.networks.build import NetworkSettings, build
from pipeline.networks.run import autocast_type
from pipeline.presets import Preset, term_weights
from pipeline.skeletons import Skeleton
from pipeline.spec import NetworkSpec
from pipeline.targets.simcc import published_sigma
from pipeline.training.ahead import prepared
from pipeline.training.augment import cut_out, recolored
from pipeline.training.batch import LoadedBatch, network_input, on_device, teacher_in_frame, truth_in_frame
from pipeline.training.distributed import Processes, own_device, started, together
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Aim, Execution, Trainer, TrainingBatch, Weighting
from stages.checkpoints import CHECKPOINTS, read, signals, stopping, write
from stages.datasets import TRAIN, table_path
from stages.live import live_metrics
from stages.progress import progress
from stages.starts import Start
from stages.stores import digest
from stages.training_data import Geometry, Loader, Online, Source
from stages.training_settings import TrainingSettings

APPEARANCE = 3
"""Stream of randomness, beside those of stages.training_data."""
SHORTEST = 1e-3
"""Seconds between two points of the curve, for clocks that stand still meanwhile."""


@dataclass(frozen=True)
class Task:
    """What is trained on what, with every input resolved."""

    name: str
    network: NetworkSettings
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
    warped: bool = False
    """Are the targets of view 0 warped into fresh views."""
    online: dict[str, Online] = field(default_factory=dict)
    """Teachers that are run on every crop."""
    online_files: dict[str, str] = field(default_factory=dict)
    """sha256 of their files."""
    start: Start | None = None
    """Published weights of the network's backbone, instead of drawn ones."""
    preset: Preset | None = None
    """Named weights of truth and teachers, instead of `weights`."""
    weighting: Weighting = "fixed"
    """How the teachers' total is shared out."""
    consistency: float = 0.0
    """Weight of what keeps midpoints of the skeleton between their keypoints."""

    def weights_at(self, progress: float) -> dict[str, float]:
        """Of truth and of each teacher when that share of the steps is done."""
        if self.preset is None:
            return self.weights
        named = term_weights(self.preset, progress)
        return {name: named[name] for name in ("truth", *self.teachers)}

    def fingerprint(self, people: str) -> str:
        """Of everything the trained weights follow from, the project's code included."""
        inputs = {
            "name": self.name,
            "network": vars(self.network),
            "spec": repr(self.spec),
            "stores": {s.name: {t: store.fingerprint for t, store in s.stores.items()} for s in self.sources},
            "weights": self.weights,
            "preset": self.preset,
            "weighting": self.weighting,
            "consistency": self.consistency,
            "floor": self.floor,
            "temperature": self.temperature,
            "fresh": self.fresh,
            "warped": self.warped,
            "online": self.online_files,
            "start": self.start and self.start.sha256,
            "settings": self.settings.decisive,
            "seed": self.seed,
            "people": people,
            "corrections": {s.name: {t: digest(c) for t, c in s.corrections.items()} for s in self.sources},
            "labels": {s.name: digest(s.people.use, s.people.labelled, s.people.keypoints) for s in self.sources},
            "views": {s.name: s.views.kinds for s in self.sources},
            "crops": {s.name: s.crops and s.crops.fingerprint for s in self.sources},
            "code": code_digest(),
        }
        return hashlib.sha256(canonical(inputs)).hexdigest()


@dataclass(frozen=True)
class Trained:
    """The averaged network, in evaluation mode on the CPU, and how it got there."""

    network: nn.Module
    curve: list[dict[str, float]]
    steps: int
    seconds: float
    first: bool
    """Is this the process that writes?"""


def code_digest() -> str:
    """sha256 over this project's source files that a training runs through."""
    root = Path(__file__).parent.parent
    files = sorted(file for room in ("pipeline", "cache", "stages") for file in (root / room).rglob("*.py"))
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


@contextmanager
def training(task: Task, device: torch.device, resume: bool, say: Callable[[str], None]) -> Iterator[Trained]:
    """Train to the end, going on from this task's checkpoint if there is one; it goes once `with`'s body has kept the outcome.

    Ctrl-C, and SIGTERM, save before they stop. A checkpoint of other settings, inputs or code is left aside with a line that says
    so; `resume` takes it all the same. Under torchrun every process comes here, and the first alone speaks and writes.
    UserError where another training of that name is running.
    """
    first = started().first
    checkpoint = CHECKPOINTS / f"{task.name}.pt"
    say = say if first else _nobody
    device = own_device(device)
    same_numbers = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    with exclusive(checkpoint) if first else nullcontext(), together(device) as processes, same_numbers:
        yield _train(task, device, processes, checkpoint, resume, say)
        if first:
            checkpoint.unlink(missing_ok=True)


def _nobody(line: str) -> None:
    """Hears it."""


def _train(
    task: Task,
    device: torch.device,
    processes: Processes,
    checkpoint: Path,
    resume: bool,
    say: Callable[[str], None],
) -> Trained:
    chosen = task.settings
    loader, steps = _loader(task, processes)
    trainer = _trainer(task, device, processes, steps)
    fingerprint = task.fingerprint(_people_digest(task))
    unchangeable = {"network": vars(task.network), "keypoints": len(task.spec.skeleton), "steps": steps}
    curve: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    state = read(checkpoint, fingerprint, unchangeable, resume, say)
    if state:
        trainer.restore(state["trainer"])
        curve, sums = list(state["curve"]), dict(state["sums"])
        say(f"going on from {checkpoint}, step {trainer.steps_done}")
    start = time.monotonic() - (float(state["seconds"]) if state else 0.0)
    saved = point_at = time.monotonic()
    point_step = trainer.steps_done
    every = max(1, min(steps // 100, max(100, steps // 1000)))
    say(f"training {task.name} on {device}, {_manner(trainer)}")

    def save() -> None:
        if processes.first:
            progressed = {"curve": curve, "sums": sums, "seconds": time.monotonic() - start}
            known = {"fingerprint": fingerprint, "unchangeable": unchangeable}
            write({**known, **progressed, "trainer": trainer.state()}, checkpoint)

    shown = progress(steps, f"training {task.name}", "steps") if processes.first else tqdm(disable=True)
    live = live_metrics(task.name, curve) if processes.first else nullcontext(None)
    with shown as bar, live as log, signals() as heard:
        bar.update(trainer.steps_done)
        for batch in batches(task, loader, trainer.steps_done, steps, processes, device):
            rate = trainer.learning_rate
            terms = trainer.step(batch)
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            bar.update(1)
            if trainer.steps_done % every == 0:
                means = {name: value / every for name, value in sums.items()}
                curve.append({"step": float(trainer.steps_done), **means})
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()}, refresh=False)
                if log:
                    now = time.monotonic()
                    taken = max(now - point_at, SHORTEST)
                    speed = (trainer.steps_done - point_step) * chosen.batch / taken
                    log({**curve[-1], "learning_rate": rate, "people_per_second": speed})
                    point_at, point_step = now, trainer.steps_done
                sums = {}
            if processes.any(bool(heard), device):
                save()
                processes.wait()
                say(f"{checkpoint}: saved at step {trainer.steps_done}: run the same command again to go on")
                raise stopping(heard)
            if time.monotonic() - saved > chosen.checkpoint_seconds:
                save()
                saved = time.monotonic()
    save()
    network = trainer.average.module.to("cpu").eval()
    return Trained(network, curve, steps, time.monotonic() - start, processes.first)


def _loader(task: Task, processes: Processes) -> tuple[Loader, int]:
    """This process's part of every batch, and how many steps there are."""
    chosen = task.settings
    people = sum(int(source.people.use.sum()) for source in task.sources)
    steps = chosen.length(people)
    geometry = Geometry(
        fresh=task.fresh,
        settle=round(steps * (1 - chosen.settle)),
        scale=chosen.scale,
        shift=chosen.shift,
        flip=chosen.flip,
    )
    part = processes.part(chosen.batch)
    memory = chosen.picture_memory * 1e9 / processes.count
    return Loader(task.sources, task.spec, chosen.batch, geometry, task.seed, memory, task.online, part), steps


def _trainer(task: Task, device: torch.device, processes: Processes, steps: int) -> Trainer:
    chosen = task.settings
    torch.manual_seed(task.seed)
    network = build(task.network, task.spec, task.start.file if task.start else None)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        steps=steps,
        learning_rate=chosen.learning_rate,
        warm_up=chosen.rise(steps),
        weight_decay=chosen.weight_decay,
        clip=chosen.clip,
        average=chosen.average,
        average_warm_up=chosen.average_warm_up,
        schedule=chosen.schedule,
    )
    aim = Aim(
        weights=task.weights_at,
        skeleton=task.spec.skeleton,
        deviation=label_deviation(chosen, task.spec),
        factor=task.spec.factor if task.spec.kind == "simcc" else 1.0,
        weighting=task.weighting,
        consistency=task.consistency,
    )
    return Trainer(network, recipe, aim, Execution(autocast_type(chosen.precision, device), chosen.compile, processes))


def _manner(trainer: Trainer) -> str:
    how = trainer.execution
    dtype = str(how.autocast or torch.float32).removeprefix("torch.")
    compiled = ", compiled" if how.compiled else ""
    return dtype + compiled + (f", {how.processes.count} processes" if how.processes.count > 1 else "")


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Loss terms over steps as CSV, for `dvc plots`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(curve[0]) if curve else ["step"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    write_atomically(path, text.getvalue().encode())


def batches(
    task: Task, loader: Loader, first: int, stop: int, processes: Processes, device: torch.device
) -> Iterator[TrainingBatch]:
    """What steps first..stop-1 train on."""
    loaded = enumerate(loader.stream(first, stop, task.settings.workers), first)
    return prepared(loaded, lambda each: _to_device(task, each[1], each[0], processes, device), device)


def _to_device(task: Task, loaded: LoadedBatch, step: int, processes: Processes, device: torch.device) -> TrainingBatch:
    chosen, spec = task.settings, task.spec
    wh = target_wh(spec)
    entropy = [task.seed, APPEARANCE, step, *([processes.rank] if processes.rank else [])]
    stream = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    random = torch.Generator().manual_seed(int(stream >> np.uint64(1)))
    crops = recolored(on_device(loaded.crops, device), chosen.color, random)
    inputs = network_input(cut_out(crops, chosen.cut_out, random), spec)
    teachers = {
        name: teacher_in_frame(
            loaded,
            loaded.targets[name],
            skeleton,
            spec,
            wh,
            task.floor,
            task.temperature,
            device,
            warped=task.warped,
            correction=loaded.corrections.get(name),
        )
        for name, skeleton in task.teachers.items()
    }
    return TrainingBatch(
        inputs, truth_in_frame(loaded, spec, wh, label_sigma(chosen, spec), device), teachers, loaded.people
    )


def label_sigma(chosen: TrainingSettings, spec: NetworkSpec) -> float | tuple[float, float]:
    """Width of the labels: pixels of maps, bins of each axis."""
    return chosen.sigma if spec.kind != "simcc" else chosen.simcc_sigma or published_sigma(spec.input_wh)


def label_deviation(chosen: TrainingSettings, spec: NetworkSpec) -> float | tuple[float, float]:
    """Standard deviation of the labels as distributions, of which SimCC's are narrower than their bells: pipeline.targets.simcc."""
    sigma = label_sigma(chosen, spec)
    return sigma if isinstance(sigma, float) else (sigma[0] / spec.factor**0.5, sigma[1] / spec.factor**0.5)


def target_wh(spec: NetworkSpec) -> tuple[int, int]:
    """Width and height of what our own networks give: maps of a quarter of the input, or bins of half a pixel."""
    width, height = spec.input_wh
    return (width * 2, height * 2) if spec.kind == "simcc" else (width // 4, height // 4)


def _people_digest(task: Task) -> str:
    files = [table_path(s.name, TRAIN, what) for s in task.sources for what in ("people", "views", "pictures")]
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
