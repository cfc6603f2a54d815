"""Shard jobs on a running `dask.distributed` cluster: each job is one task, and one worker writes its shard.

Images, the teacher's file and stores on disk must be on a file system that client and workers see under the same path. Workers reach
remote stores by their own environment. Only this module imports `distributed`, and only if a scheduler is named.
"""

import contextlib
import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, Lock, get_worker, wait

from cache.backend import backend_of
from cache.manifest import read_fingerprint
from pipeline.common.errors import UserError, one_line
from pipeline.common.threads import cores
from pipeline.inference.session import Teacher, open_teacher
from pipeline.pose.options import Device, TeacherPrecision
from pipeline.pose.spec import NetworkSpec, spec_values
from stages.teach.shards import ShardJob
from stages.teach.stream import write_shards

CONNECT_SECONDS = 10
PATIENCE_SECONDS = 20
"""If no task ends within this time, the scheduler is asked whether it still has workers."""

JOBS_PER_WORKER = 2
"""Jobs that a worker runs at once: it reads and writes for one while the teacher runs on the other. One more waits at the worker."""


@dataclass(frozen=True)
class TeacherRequest:
    """The teacher that the client has opened, for each worker to open it too."""

    name: str
    path: Path
    spec: NetworkSpec
    precision: TeacherPrecision
    device: Device
    """The device of the workers."""
    sha256: str

    @property
    def key(self) -> str:
        """A text that is equal for the same teacher on the same device."""
        return json.dumps([self.name, str(self.path), self.sha256, self.precision, self.device, spec_values(self.spec)])


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect to the scheduler of a cluster with at least one worker; UserError if there is none."""
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


def common_provider(client: Client, teacher: TeacherRequest) -> str:
    """Return the ONNX Runtime provider of all workers; UserError if they differ, because their bytes would differ too."""
    tasks = [
        client.submit(_open_here, teacher, _peers(client), workers=[address], pure=False)
        for address in client.nthreads()
    ]
    opened = {task.result() for task in tasks}
    providers = {provider for provider, _ in opened}
    if len(providers) > 1:
        workers = ", ".join(f"{provider} on {address}" for provider, address in sorted(opened))
        raise UserError(
            f"expected workers that run the teacher on the same provider, found {workers}: name one with --device"
        )
    return providers.pop()


def write_shards_on_cluster(
    client: Client, teacher: TeacherRequest, provider: str, jobs: Iterable[ShardJob], batch: int
) -> Generator[int]:
    """Let the workers write the shards of jobs. Yield the people in use of each, in the order in which they end.

    If a worker dies, another one writes its whole shard. Closing the iterator cancels the tasks that have not begun.
    """
    coming = iter(jobs)
    waiting: dict[Future, ShardJob] = {}
    peers = _peers(client)
    try:
        while True:
            free = (JOBS_PER_WORKER + 1) * max(1, len(client.nthreads())) - len(waiting)
            for job in islice(coming, max(0, free)):
                task = client.submit(_write, teacher, provider, peers, _absolute(job), batch, pure=False)
                waiting[task] = job
            if not waiting:
                return
            for task in _done(client, waiting):
                yield _count(task, waiting.pop(task))
    finally:
        client.cancel(list(waiting))


def _peers(client: Client) -> dict[str, int]:
    """Return the number of workers on each machine."""
    return dict(Counter(_machine(address) for address in client.nthreads()))


def _machine(address: str) -> str:
    """Return the host of a worker's address, `tcp://host:port`."""
    return address.rpartition(":")[0]


def _absolute(job: ShardJob) -> ShardJob:
    store = job.store.absolute() if isinstance(job.store, Path) else job.store
    return dataclasses.replace(job, store=store, images=job.images.absolute())


def _done(client: Client, tasks: Iterable[Future]) -> list[Future]:
    """Wait until at least one task has ended, and return those that have."""
    while True:
        try:
            return list(wait(list(tasks), timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            _refuse_no_workers(client, client.scheduler_info()["address"])


def _count(task: Future, job: ShardJob) -> int:
    try:
        return int(task.result())
    except KilledWorker as error:
        rows = job.layout.rows(job.shard)
        raise UserError(
            f"{job.store}: people {rows.start}-{rows.stop} killed several workers one after another: "
            "is their memory enough? A smaller --batch takes less"
        ) from error


class WorkerSessions:
    """A worker's teacher, which is opened once for all its threads, and the locks that these share."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.jobs = threading.BoundedSemaphore(JOBS_PER_WORKER)
        self.turn = threading.Lock()
        """Held while the teacher runs."""
        self.key = ""
        self.teacher: Teacher | None = None

    def teacher_of(self, request: TeacherRequest, threads: int) -> Teacher:
        """Return the requested teacher. If another one is open, close it and open this one."""
        with self.opening:
            if self.teacher is None or self.key != request.key:
                self.teacher = None
                self.teacher = open_teacher(
                    request.name, request.path, request.spec, request.device, threads, precision=request.precision
                )
                self.key = request.key
            return self.teacher


def _here() -> tuple[Any, WorkerSessions]:
    """Return the worker that this runs on, and its sessions, which live as long as the worker."""
    worker = get_worker()
    return worker, vars(worker).setdefault("pose_fusion_sessions", WorkerSessions())


def _open_here(request: TeacherRequest, peers: dict[str, int]) -> tuple[str, str]:
    """Open the teacher on this worker; return its provider and the worker's address."""
    worker, sessions = _here()
    return _teacher_here(worker, sessions, request, _threads(worker, peers)).runtime.provider, worker.address


def _threads(worker: Any, peers: dict[str, int]) -> int:
    """Return this worker's share of the machine's cores."""
    return max(1, cores() // peers.get(_machine(worker.address), 1))


def _teacher_here(worker: Any, sessions: WorkerSessions, request: TeacherRequest, threads: int) -> Teacher:
    teacher = sessions.teacher_of(request, threads)
    if teacher.sha256 != request.sha256:
        raise UserError(
            f"worker {worker.address}: {request.path} is another file than the client's: "
            "expected a file system that all of them share"
        )
    return teacher


def _write(request: TeacherRequest, provider: str, peers: dict[str, int], job: ShardJob, batch: int) -> int:
    """Write one shard on this worker; return its people in use."""
    worker, sessions = _here()
    threads = _threads(worker, peers)
    with sessions.jobs:
        teacher = _teacher_here(worker, sessions, request, threads)
        if teacher.runtime.provider != provider:
            raise UserError(
                f"worker {worker.address}: runs the teacher on {teacher.runtime.provider}, the others on {provider}: stop it, "
                "then run this again"
            )
        if not backend_of(job.store).has("zarr.json"):
            shared = "a file system" if isinstance(job.store, Path) else "an endpoint"
            raise UserError(
                f"worker {worker.address}: {job.store} is absent: expected {shared} that client and workers share"
            )
        # A worker that the scheduler has given up, or whose client has ended, may still write this shard.
        with Lock(f"{job.store} {job.shard}"):
            if read_fingerprint(job.store) != job.fingerprint:
                raise UserError(f"{job.store}: has become a store of other inputs: this run's people are left out")
            return sum(write_shards(teacher, [job], batch, threads, sessions.turn))
