"""Units of work on a `dask.distributed` cluster that somebody has started: one task and one writer per boundary of a store.

Pictures, the teacher's file and stores on disk lie on a file system that client and workers see under the same path; workers reach
remote stores by the environment they were started in. Only this module imports `distributed`, and only when a scheduler is named.
"""

import contextlib
import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, Lock, get_worker, wait

from cache.place import place_of
from pipeline.errors import UserError, one_line
from pipeline.spec import NetworkSpec, Precision, spec_values
from pipeline.teachers.session import Device, Teacher, open_teacher
from stages.teaching.stream import written
from stages.teaching.units import Unit
from stages.threads import cores

CONNECT_SECONDS = 10
PATIENCE_SECONDS = 20
"""How long nothing may finish before it is asked whether there are workers at all."""

UNITS_PER_WORKER = 2
"""That a worker is at, so that one is read and written while the teacher looks at the other; one more waits at the worker."""


@dataclass(frozen=True)
class Wanted:
    """The teacher as the client has opened it, which each worker opens for itself."""

    name: str
    path: Path
    spec: NetworkSpec
    precision: Precision
    device: Device
    """Of the workers."""
    sha256: str

    @property
    def key(self) -> str:
        """Equal for the same teacher on the same device."""
        return json.dumps([self.name, str(self.path), self.sha256, self.precision, self.device, spec_values(self.spec)])


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """The cluster behind a scheduler, with at least one worker; UserError where there is none."""
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"--scheduler {address}: no Dask scheduler answers ({one_line(error)}): start one with `dask scheduler` and workers "
            "with `dask worker ADDRESS`"
        ) from error
    with client:
        _refuse_no_workers(client, address)
        yield client


def _refuse_no_workers(client: Client, address: str) -> None:
    if not client.nthreads():
        raise UserError(
            f"--scheduler {address}: expected workers, found none: start some with `dask worker {address}`, then run this again"
        )


def provider_of(client: Client, wanted: Wanted) -> str:
    """What the teacher runs on at every worker; UserError where they differ, since their bytes would."""
    asked = [
        client.submit(_open_here, wanted, _peers(client), workers=[address], pure=False)
        for address in client.nthreads()
    ]
    found = {future.result() for future in asked}
    providers = {provider for provider, _ in found}
    if len(providers) > 1:
        who = ", ".join(f"{provider} on {address}" for provider, address in sorted(found))
        raise UserError(
            f"expected workers that run the teacher on the same provider, found {who}: name one with --device"
        )
    return providers.pop()


def written_by(client: Client, wanted: Wanted, provider: str, units: Iterable[Unit], batch: int) -> Generator[int]:
    """Have units written; yields of each, in whatever order they are done, how many people were looked at.

    A unit whose worker dies is given to another one, which writes it whole. Close the iterator: it cancels what has not begun.
    """
    coming = iter(units)
    waiting: dict[Future, Unit] = {}
    peers = _peers(client)
    try:
        while True:
            room = (UNITS_PER_WORKER + 1) * max(1, len(client.nthreads())) - len(waiting)
            for unit in _some(coming, room):
                task = client.submit(_write, wanted, provider, peers, _absolute(unit), batch, pure=False)
                waiting[task] = unit
            if not waiting:
                return
            for task in _done(client, waiting):
                yield _count(task, waiting.pop(task))
    finally:
        client.cancel(list(waiting))


def _peers(client: Client) -> dict[str, int]:
    """How many workers share each machine."""
    return dict(Counter(_machine(address) for address in client.nthreads()))


def _machine(address: str) -> str:
    """The host of a worker's address, `tcp://host:port`."""
    return address.rpartition(":")[0]


def _some(units: Iterator[Unit], count: int) -> Iterator[Unit]:
    for _ in range(count):
        unit = next(units, None)
        if unit is None:
            return
        yield unit


def _absolute(unit: Unit) -> Unit:
    store = unit.store.absolute() if isinstance(unit.store, Path) else unit.store
    return dataclasses.replace(unit, store=store, images=unit.images.absolute())


def _done(client: Client, tasks: Iterable[Future]) -> list[Future]:
    """Those that have ended, at least one."""
    while True:
        try:
            return list(wait(list(tasks), timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            _refuse_no_workers(client, client.scheduler_info()["address"])


def _count(task: Future, unit: Unit) -> int:
    try:
        return int(task.result())
    except KilledWorker as error:
        rows = unit.layout.rows(unit.boundary)
        raise UserError(
            f"{unit.store}: people {rows.start}-{rows.stop} killed several workers one after another: "
            "is their memory enough? A smaller --batch takes less"
        ) from error


class Sessions:
    """A worker's teacher, opened once for all its threads, and what keeps these out of each other's way."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.units = threading.BoundedSemaphore(UNITS_PER_WORKER)
        self.turn = threading.Lock()
        """Held while the teacher looks."""
        self.key = ""
        self.teacher: Teacher | None = None

    def teacher_of(self, wanted: Wanted, threads: int) -> Teacher:
        """The one that is open, if it is that one; else that one, and the other is let go."""
        with self.opening:
            if self.teacher is None or self.key != wanted.key:
                self.teacher = None
                self.teacher = open_teacher(
                    wanted.name, wanted.path, wanted.spec, wanted.device, threads, precision=wanted.precision
                )
                self.key = wanted.key
            return self.teacher


def _here() -> tuple[Any, Sessions]:
    """The worker that this runs on, and its sessions, which live as long as it does."""
    worker = get_worker()
    return worker, vars(worker).setdefault("pose_fusion_sessions", Sessions())


def _open_here(wanted: Wanted, peers: dict[str, int]) -> tuple[str, str]:
    """Provider and address of this worker."""
    worker, sessions = _here()
    return _teacher_here(worker, sessions, wanted, _threads(worker, peers)).opened.provider, worker.address


def _threads(worker: Any, peers: dict[str, int]) -> int:
    """This worker's share of the machine's cores."""
    return max(1, cores() // peers.get(_machine(worker.address), 1))


def _teacher_here(worker: Any, sessions: Sessions, wanted: Wanted, threads: int) -> Teacher:
    teacher = sessions.teacher_of(wanted, threads)
    if teacher.sha256 != wanted.sha256:
        raise UserError(
            f"worker {worker.address}: {wanted.path} is another file than the client's: "
            "expected a file system that all of them share"
        )
    return teacher


def _write(wanted: Wanted, provider: str, peers: dict[str, int], unit: Unit, batch: int) -> int:
    """Write one unit on this worker."""
    worker, sessions = _here()
    threads = _threads(worker, peers)
    with sessions.units:
        teacher = _teacher_here(worker, sessions, wanted, threads)
        if teacher.opened.provider != provider:
            raise UserError(
                f"worker {worker.address}: runs the teacher on {teacher.opened.provider}, the others on {provider}: stop it, "
                "then run this again"
            )
        if not place_of(unit.store).has("zarr.json"):
            shared = "a file system" if isinstance(unit.store, Path) else "an endpoint"
            raise UserError(
                f"worker {worker.address}: {unit.store} is not there: expected {shared} that client and workers share"
            )
        # A worker that was taken for dead, or whose client is gone, may still be at this boundary.
        with Lock(f"{unit.store} {unit.boundary}"):
            return sum(written(teacher, [unit], batch, threads, sessions.turn))
