"""The processes that `torchrun` starts, one per GPU or part of a CPU: their group, their ranks and their collective operations."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from pipeline.common.errors import UserError


@dataclass(frozen=True)
class Processes:
    """Rank of this process and number of processes. Collective operations must be called by all of them, equally often."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Is this the process that prints and writes files (rank 0)?"""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average the values over all processes, without gradient."""
        if self.count == 1:
            return values.detach()
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, yes: bool, device: torch.device) -> bool:
        """Return whether it is so in at least one process. The processes exchange the answer as a number on `device`."""
        return yes if self.count == 1 else bool(self.mean(torch.tensor(float(yes), device=device)) > 0)

    def all_gather(self, names: list[str]) -> list[str]:
        """Return the names of all processes, in the order of their ranks."""
        if self.count == 1:
            return names
        gathered: list[list[str]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(gathered, names)
        return [name for part in gathered for name in part]

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            distributed.barrier()

    def batch_slice(self, batch: int) -> slice:
        """Return this process's people of a common batch; UserError where the batch does not divide by the processes."""
        if batch % self.count:
            raise UserError(
                f"params.yaml: training.batch: expected a multiple of the {self.count} processes, found {batch}: "
                "it is the batch of all processes together"
            )
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)


def process_info() -> Processes:
    """Return the rank and count from torchrun's environment variables; one process without them. Joins no group."""
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def own_device(device: torch.device) -> torch.device:
    """Return the CUDA device of this process where there are several processes, else `device`; UserError where the GPUs are too few."""
    if device.type != "cuda" or process_info().count == 1:
        return device
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise UserError(f"process {index} of this machine has no GPU: found {torch.cuda.device_count()}: start fewer")
    return torch.device("cuda", index)


_groups = itertools.count()
"""Numbers of this process's groups, the same in all processes of a training."""


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Join the processes to a group while inside, by NCCL on GPUs and by Gloo on CPUs."""
    processes = process_info()
    if processes.count == 1:
        yield processes
        return
    # Under torchrun the store of addresses outlives a group: another group needs a part of it to itself, or reads the first one's.
    store, rank, count = next(distributed.rendezvous("env://"))
    store = distributed.PrefixStore(f"training {next(_groups)}", store)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", store=store, rank=rank, world_size=count, device_id=device)
    else:
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
