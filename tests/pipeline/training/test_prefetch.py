"""Batches arrive in order and are prepared on demand; on a GPU one batch ahead, and completely."""

import numpy as np
import pytest
import torch

from pipeline.training.batch import on_device
from pipeline.training.losses import Supervision
from pipeline.training.prefetch import prefetch
from pipeline.training.trainer import TrainingBatch

CPU = torch.device("cpu")
A_WHILE = 10**7
"""Number of clock cycles that a GPU is kept busy."""


def batch(number: int, device: torch.device = CPU) -> TrainingBatch:
    """Return a batch whose tensors are filled with the number."""
    values = on_device(np.full((64, 3, 64, 64), number, np.float32), device)
    supervision = Supervision((values * 1,), values > 0, values * 1)
    return TrainingBatch(values * 1, supervision, {"one": supervision}, [str(number)])


def test_on_a_cpu_each_is_made_when_it_is_asked_for():
    made: list[int] = []

    def prepare(number: int) -> TrainingBatch:
        made.append(number)
        return batch(number)

    arriving = prefetch(iter(range(3)), prepare, CPU)
    assert [(each.people, list(made)) for each in arriving] == [(["0"], [0]), (["1"], [0, 1]), (["2"], [0, 1, 2])]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_they_arrive_whole_and_stay_so_while_they_are_used():
    """The making is slow, so that a training that does not wait reads too early; so is the use, so that memory given back too early is
    written over by a later batch."""
    device = torch.device("cuda", 0)

    def prepare(number: int) -> TrainingBatch:
        torch.cuda._sleep(A_WHILE)
        return batch(number, device)

    wrong = []
    for number, each in enumerate(prefetch(iter(range(1, 21)), prepare, device), 1):
        assert each.people == [str(number)]
        torch.cuda._sleep(3 * A_WHILE)
        tensors = (each.inputs, each.truth.target[0], each.teachers["one"].score)
        wrong += [(tensor - number).abs().sum() for tensor in tensors if tensor is not None]
        del each, tensors
    assert len(wrong) == 60 and float(torch.stack(wrong).sum()) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_an_error_comes_where_its_batch_would():
    device = torch.device("cuda", 0)

    def prepare(number: int) -> TrainingBatch:
        if number == 2:
            raise ValueError("two")
        return batch(number, device)

    seen = []
    with pytest.raises(ValueError, match="two"):
        for each in prefetch(iter(range(4)), prepare, device):
            seen += each.people
    assert seen == ["0", "1"]
