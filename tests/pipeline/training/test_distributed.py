"""Several processes compared with one that has all their people: losses, gradients and errors, on CPUs with Gloo."""

import os
import socket
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.networks.pyramid import Pyramid
from pipeline.training.distributed import Processes, own_device, process_group, process_info
from pipeline.training.losses import Supervision
from pipeline.training.optimizer import Recipe
from pipeline.training.resample import gaussians
from pipeline.training.trainer import LossConfig, RuntimeConfig, Trainer, TrainingBatch

PEOPLE = 6
CPU = torch.device("cpu")
RECIPE = Recipe(steps=4, learning_rate=1e-3, warm_up=2, weight_decay=0.05, clip=None, average=0.9)
KNOWN = {
    "truth": ("111", "111", "110", "111", "000", "000"),
    "one": ("111", "101", "111", "001", "000", "010"),
    "other": ("111", "111", "011", "101", "001", "000"),
}
"""Which keypoints are known, by source and person. The first three people have most of them, the last three hardly any."""
WEIGHTINGS = ("fixed", "confidence", "adaptive")


class Frozen(Pyramid):
    """A network whose norms use their running statistics, so that a person's output does not depend on the rest of the batch."""

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def settle(network: Frozen) -> None:
    """Return a network whose norms have the statistics of noise, so that signals and gradients keep their size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    Pyramid.train(network)
    network(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(2)))


def trainer(weighting: str, processes: Processes) -> Trainer:
    torch.manual_seed(0)
    weights = {"truth": 0.3, "one": 0.25, "other": 0.45}
    aim = LossConfig(lambda progress: weights, weighting=weighting)
    network = Frozen(3, 8)
    settle(network)
    training = Trainer(network, RECIPE, aim, RuntimeConfig(processes=processes))
    if weighting == "adaptive":
        nn.init.normal_(training.objective.shares.importance.weight)
    return training


def batch(part: slice = slice(None)) -> TrainingBatch:
    """Return a batch of noise, with targets and scores of noise."""
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(PEOPLE, 3, 32, 32, generator=random)
    found = {}
    for source, known in KNOWN.items():
        points = 1 + 5 * torch.rand(PEOPLE, 3, 2, generator=random)
        target = gaussians(points, (8, 8), 0.8, bins=False)
        score = torch.rand(PEOPLE, 3, generator=random)
        valid = torch.tensor([[each == "1" for each in person] for person in known])
        found[source] = Supervision(tuple(each[part] for each in target), valid[part], score[part])
    people = [f"person {n}" for n in range(PEOPLE)]
    truth = found.pop("truth")
    return TrainingBatch(inputs[part], Supervision(truth.target, truth.valid), found, people[part])


def process(rank: int, port: int, folder: str) -> None:
    """Run one process of two, with three of the six people."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # as under torchrun, where the store outlives the process group
    torch.set_num_threads(1)
    found = {}
    with process_group(CPU) as processes:
        processes.barrier()
    time.sleep(rank == 0)  # the other one must not take what the first group has left in the store for the second's
    with process_group(CPU) as processes:
        part = processes.batch_slice(PEOPLE)
        for weighting in WEIGHTINGS:
            training = trainer(weighting, processes)
            terms = training.step(batch(part))
            gradients = {name: p.grad for name, p in training.objective.named_parameters()}
            found[weighting] = {"terms": terms, "gradients": gradients}
        spoilt = batch(part)
        if rank == 1:
            spoilt.truth.target[0][0] = float("nan")
            spoilt.truth.valid[0] = True
        try:
            training.step(spoilt)
        except UserError as error:
            found["refusal"] = str(error)
        found["any"] = [processes.any(rank == 1, CPU), processes.any(False, CPU)]
        found["joined"] = processes.all_gather([f"from {rank}"])
        processes.barrier()
    torch.save(found, Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Run two processes and return the results of each."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=True, wait_for_workers=False)
    torch.multiprocessing.set_forkserver_preload(["torch._dynamo", __name__])  # imported once, not by each
    torch.multiprocessing.start_processes(process, (port, str(folder)), nprocs=2, start_method="forkserver")
    del store
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_two_processes_give_the_losses_and_gradients_of_one(two, weighting):
    """Sums of some ten thousand products in another order: relative to the largest, a few float32 roundings of 6e-8 each.

    The biases of the head shift all of a map, of which the softmax knows nothing: their gradients cancel, and 1e-7 is left of the
    terms.
    """
    alone = trainer(weighting, Processes())
    terms = alone.step(batch())
    assert ("mixture" in terms) == (weighting == "adaptive")
    for each in two:
        assert each[weighting]["terms"] == pytest.approx(terms, rel=2e-6, abs=1e-7)
        for name, parameter in alone.objective.named_parameters():
            gradient = each[weighting]["gradients"][name]
            largest = float(parameter.grad.abs().max())
            assert largest > 1e-5 or name == "network.head.bias"
            assert torch.allclose(gradient, parameter.grad, rtol=0, atol=2e-5 * largest + 1e-7), name


@pytest.mark.slow
def test_one_process_that_fails_stops_both_and_its_people_are_named(two):
    assert two[0]["refusal"] == two[1]["refusal"]
    assert two[0]["refusal"].startswith(
        "step 2: the loss is nan on person 3, person 4, person 5: lower the learning rate"
    )


@pytest.mark.slow
def test_any_is_true_in_all_processes(two):
    for each in two:
        assert each["any"] == [True, False]
        assert each["joined"] == ["from 0", "from 1"]


def test_a_batch_that_does_not_divide_is_refused():
    assert [Processes(rank, 3).batch_slice(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    with pytest.raises(UserError, match=r"training.batch: expected a multiple of the 4 processes, found 6"):
        Processes(0, 4).batch_slice(6)


def test_alone_without_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_info() == Processes(0, 1)
    assert own_device(torch.device("cuda")) == torch.device("cuda")
    with process_group(CPU) as processes:
        assert processes.is_main
        assert processes.any(True, CPU)
        assert processes.all_gather(["a"]) == ["a"]


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert own_device(CPU) == CPU
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"process 1 of this machine has no GPU: found 1"):
        own_device(torch.device("cuda"))
