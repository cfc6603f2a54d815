"""The processes that `torchrun` starts, one per GPU or part of a CPU: joined, told apart, and asked for common numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from pipeline.errors import UserError


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is. Whatever asks the others has to be called by all of them, equally often."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """The process that speaks and writes."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The values averaged over all processes, without gradient."""
        if self.count == 1:
            return values.detach()
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, yes: bool, device: torch.device) -> bool:
        """Is it so in at least one process? The answer comes by way of a number on `device`."""
        return yes if self.count == 1 else bool(self.mean(torch.tensor(float(yes), device=device)) > 0)

    def joined(self, names: list[str]) -> list[str]:
        """Everybody's names, in the processes' order."""
        if self.count == 1:
            return names
        everybody: list[list[str]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(everybody, names)
        return [name for each in everybody for name in each]

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            distributed.barrier()

    def part(self, batch: int) -> slice:
        """This process's people of a common batch; UserError where it does not divide."""
        if batch % self.count:
            raise UserError(
                f"params.yaml: training.batch: expected a multiple of the {self.count} processes, found {batch}: "
                "it is the batch of all processes together"
            )
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)


def started() -> Processes:
    """What torchrun's environment says; one process without it. Nothing is joined yet."""
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def own_device(device: torch.device) -> torch.device:
    """This process's CUDA device where each has its own."""
    if device.type != "cuda" or started().count == 1:
        return device
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise UserError(f"process {index} of this machine has no GPU: found {torch.cuda.device_count()}: start fewer")
    return torch.device("cuda", index)


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """The processes as a group while inside: NCCL on GPUs, Gloo on CPUs."""
    processes = started()
    if processes.count == 1:
        yield processes
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=device)
    else:
        distributed.init_process_group("gloo")
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
