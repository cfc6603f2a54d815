"""The training that `fit` and `distill` share: loader and trainer from their inputs, the loop with its checkpoint, the curve."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from pipeline.common.documents import csv_bytes
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.networks.build import build_network
from pipeline.networks.run import autocast_type
from pipeline.training.distributed import Processes, own_device, process_group, process_info
from pipeline.training.optimizer import Recipe
from pipeline.training.trainer import LossConfig, RuntimeConfig, Trainer
from stages.training.batches import training_batches
from stages.training.checkpoints import CHECKPOINTS, read_checkpoint, stop_exception, stop_signals, write_checkpoint
from stages.training.inputs import TrainingInputs
from stages.training.live_metrics import live_metrics
from stages.training.loader import CropJitter, Loader

SHORTEST_INTERVAL = 1e-3
"""Smallest time in seconds between two points of the curve that a speed is computed from, for clocks of low resolution."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The moving average of the trained network, in evaluation mode on the CPU, and the course of its training."""

    network: nn.Module
    curve: list[dict[str, float]]
    """Means of the loss terms in nats between two points, by name, each point with its `step`."""
    steps: int
    seconds: float
    """Wall-clock time of the training, interrupted runs included."""
    cpu_seconds: float
    """CPU time of all threads in the training, interrupted runs included."""
    is_main: bool
    """Is this the process that writes files?"""


@contextmanager
def training(
    inputs: TrainingInputs, device: torch.device, resume: bool, log: Callable[[str], None]
) -> Iterator[TrainedNetwork]:
    """Train to the end, from the checkpoint of the same inputs if there is one, and delete it once the body of `with` has finished.

    Ctrl-C and SIGTERM save a checkpoint and stop. A checkpoint of other settings, inputs or code is not used, and a message says
    so; `resume` uses it all the same. Under torchrun every process calls this, and only the main one prints and writes. UserError
    where another training of that name is running.
    """
    is_main = process_info().is_main
    checkpoint = CHECKPOINTS / f"{inputs.name}.pt"
    log = log if is_main else _no_log
    device = own_device(device)
    deterministic = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    alone = exclusive(checkpoint) if is_main else nullcontext()
    with alone, process_group(device) as processes, deterministic, _threads(inputs.settings.computing_threads):
        yield _train(inputs, device, processes, checkpoint, resume, log)
        if is_main:
            checkpoint.unlink(missing_ok=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with that many threads on the CPU in the body of `with`."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _no_log(line: str) -> None:
    """Ignore the message."""


def _train(
    inputs: TrainingInputs,
    device: torch.device,
    processes: Processes,
    checkpoint: Path,
    resume: bool,
    log: Callable[[str], None],
) -> TrainedNetwork:
    settings = inputs.settings
    loader, steps = build_loader(inputs, processes)
    trainer = build_trainer(inputs, device, processes, steps)
    fingerprint = inputs.fingerprint
    unchangeable = {
        "network": vars(inputs.network),
        "keypoints": len(inputs.spec.skeleton),
        "steps": steps,
        # What the optimiser, its schedule and the weighting keep in the checkpoint.
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "schedule": settings.schedule,
        "shares": [*inputs.teachers] if inputs.weighting == "adaptive" else [],
    }
    curve: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    state = read_checkpoint(checkpoint, fingerprint, unchangeable, resume, log)
    if state:
        trainer.restore(state["trainer"])
        curve, sums = list(state["curve"]), dict(state["sums"])
        log(f"resuming from {checkpoint}, step {trainer.steps_done}")
    start = time.monotonic() - (float(state["seconds"]) if state else 0.0)
    cpu_start = time.process_time() - (float(state.get("cpu_seconds", 0.0)) if state else 0.0)
    saved = point_at = time.monotonic()
    point_step = trainer.steps_done
    interval = max(1, min(steps // 100, max(100, steps // 1000)))
    threads = torch.get_num_threads()
    count = f" with {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else ""
    log(f"training {inputs.name} on {device}{count}, {trainer.runtime.description}")
    if (averaged := 1 / (1 - settings.average)) > steps / 2:
        log(
            f"training.average: {settings.average} averages the weights of some {averaged:.0f} steps, and the training has {steps}: "
            f"what is saved is mostly how it began; take {max(0.0, 1 - 20 / steps):.2f} for example"
        )

    def save() -> None:
        if processes.is_main:
            times = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu_start}
            progressed = {"curve": curve, "sums": sums, **times}
            identity = {"fingerprint": fingerprint, "unchangeable": unchangeable}
            write_checkpoint({**identity, **progressed, "trainer": trainer.state()}, checkpoint)

    done = trainer.steps_done
    shown = progress(steps, f"training {inputs.name}", "steps", done) if processes.is_main else tqdm(disable=True)
    live = live_metrics(inputs.name, curve, inputs.loggers) if processes.is_main else nullcontext(None)
    with shown as bar, live as log_point, stop_signals() as received:
        for batch in training_batches(inputs, loader, done, steps, processes, device):
            rate = trainer.learning_rate
            terms = trainer.step(batch)
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            bar.update(1)
            if trainer.steps_done % interval == 0:
                means = {name: value / interval for name, value in sums.items()}
                curve.append({"step": float(trainer.steps_done), **means})
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()}, refresh=False)
                if log_point:
                    now = time.monotonic()
                    seconds = max(now - point_at, SHORTEST_INTERVAL)
                    speed = (trainer.steps_done - point_step) * settings.batch / seconds
                    log_point({**curve[-1], "learning_rate": rate, "people_per_second": speed})
                    point_at, point_step = now, trainer.steps_done
                sums = {}
            if processes.any(bool(received), device):
                save()
                processes.barrier()
                log(f"{checkpoint}: saved at step {trainer.steps_done}: run the same command again to resume")
                raise stop_exception(received)
            if time.monotonic() - saved > settings.checkpoint_seconds:
                save()
                saved = time.monotonic()
    save()
    network = trainer.average.module.to("cpu").eval()
    times = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu_start}
    return TrainedNetwork(network, curve, steps, **times, is_main=processes.is_main)


def build_loader(inputs: TrainingInputs, processes: Processes) -> tuple[Loader, int]:
    """Build the loader of this process's part of every batch; return it with the number of steps of the training."""
    settings = inputs.settings
    people = sum(int(source.people.use.sum()) for source in inputs.sources)
    steps = settings.length(people)
    jitter = CropJitter(
        fresh_rotation=inputs.fresh_rotation,
        weak_from=round(steps * (1 - settings.final_weak_share)),
        scale=settings.scale,
        shift=settings.shift,
        flip=settings.flip,
    )
    batch_slice = processes.batch_slice(settings.batch)
    image_bytes = settings.image_memory * 1e9 / processes.count
    loader = Loader(
        inputs.sources, inputs.spec, settings.batch, jitter, inputs.seed, image_bytes, inputs.online, batch_slice
    )
    return loader, steps


def build_trainer(inputs: TrainingInputs, device: torch.device, processes: Processes, steps: int) -> Trainer:
    """Build the network on its device with its optimiser and loss, before the first step."""
    settings, spec = inputs.settings, inputs.spec
    torch.manual_seed(inputs.seed)
    network = build_network(inputs.network, spec, inputs.initial_weights.file if inputs.initial_weights else None)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        steps=steps,
        learning_rate=settings.learning_rate,
        warm_up=settings.rise(steps),
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        average=settings.average,
        average_warm_up=settings.average_warm_up,
        schedule=settings.schedule,
    )
    loss_config = LossConfig(
        weights=inputs.weights_at,
        logit_factor=spec.factor if spec.kind == "simcc" else 1.0,
        weighting=inputs.weighting,
    )
    runtime = RuntimeConfig(autocast_type(settings.precision, device), settings.compile, processes)
    return Trainer(network, recipe, loss_config, runtime)


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Write the loss terms over the steps as CSV, for `dvc plots`."""
    columns = list(dict.fromkeys(key for row in curve for key in row)) or ["step"]
    rows = ({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    write_atomically(path, csv_bytes(columns, rows))
