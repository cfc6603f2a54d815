"""Batches on their way to the training device: the next one is copied and made ready while the last one is trained on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from pipeline.losses import Supervision
from pipeline.training.trainer import TrainingBatch

Loaded = TypeVar("Loaded")


def prepared(
    loaded: Iterator[Loaded], prepare: Callable[[Loaded], TrainingBatch], device: torch.device
) -> Iterator[TrainingBatch]:
    """What `prepare` makes of each, in order. On a GPU one ahead, by a thread and a stream of its own; on a CPU one at a time,
    as there the training needs every core."""
    if device.type != "cuda":
        yield from map(prepare, loaded)
        return
    stream = torch.cuda.Stream(device)

    def make(each: Loaded) -> tuple[TrainingBatch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            return prepare(each), stream.record_event()

    with ThreadPoolExecutor(1, "ahead") as thread:
        last = None
        for each in loaded:
            coming = thread.submit(make, each)
            if last is not None:
                yield _arrived(*last.result(), device)
            last = coming
        if last is not None:
            yield _arrived(*last.result(), device)


def _arrived(batch: TrainingBatch, ready: torch.cuda.Event, device: torch.device) -> TrainingBatch:
    """The batch, for the stream that trains: it waits until the batch is ready, and its memory is not used again before that is done."""
    training = torch.cuda.current_stream(device)
    training.wait_event(ready)
    for tensor in _tensors(batch):
        tensor.record_stream(training)
    return batch


def _tensors(batch: TrainingBatch) -> Iterator[torch.Tensor]:
    yield batch.inputs
    for supervision in (batch.truth, *batch.teachers.values()):
        yield from _of(supervision)


def _of(supervision: Supervision) -> Iterator[torch.Tensor]:
    yield from supervision.target
    yield supervision.valid
    if supervision.score is not None:
        yield supervision.score
