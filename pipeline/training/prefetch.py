"""Batches on their way to the training device: the next one is copied and prepared while the last one is trained on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from pipeline.training.losses import Supervision
from pipeline.training.trainer import TrainingBatch

Loaded = TypeVar("Loaded")


def prefetch(
    loaded: Iterator[Loaded], prepare: Callable[[Loaded], TrainingBatch], device: torch.device
) -> Iterator[TrainingBatch]:
    """Apply `prepare` to each loaded batch, in order.

    On a GPU a thread with a CUDA stream of its own prepares one batch ahead. On a CPU the batches are prepared one at a time,
    because there the training needs every core.
    """
    if device.type != "cuda":
        yield from map(prepare, loaded)
        return
    stream = torch.cuda.Stream(device)

    def make(item: Loaded) -> tuple[TrainingBatch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            return prepare(item), stream.record_event()

    with ThreadPoolExecutor(1, "prefetch") as thread:
        last = None
        for item in loaded:
            coming = thread.submit(make, item)
            if last is not None:
                yield _arrived(*last.result(), device)
            last = coming
        if last is not None:
            yield _arrived(*last.result(), device)


def _arrived(batch: TrainingBatch, ready: torch.cuda.Event, device: torch.device) -> TrainingBatch:
    """Return the batch for use on the current stream of the device.

    That stream waits for `ready`, and the memory of the batch is not reused before the stream has finished with it.
    """
    training = torch.cuda.current_stream(device)
    training.wait_event(ready)
    for tensor in _tensors(batch):
        tensor.record_stream(training)
    return batch


def _tensors(batch: TrainingBatch) -> Iterator[torch.Tensor]:
    yield batch.inputs
    for supervision in (batch.truth, *batch.teachers.values()):
        yield from _tensors_of(supervision)


def _tensors_of(supervision: Supervision) -> Iterator[torch.Tensor]:
    yield from supervision.target
    yield supervision.valid
    if supervision.score is not None:
        yield supervision.score
