"""`teach --scheduler`: workers of a cluster write the same bytes, a dead one costs its shard only, and mistakes are one line."""

import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import pytest

from cache import remote
from cache.reader import verify_store
from pipeline.common.errors import UserError
from stages import prepare
from stages.project.project import project_of
from stages.teach import run as teach
from stages.teach.shards import ShardJob
from tests.cache.s3_server import BUCKET, USER, Bucket, serving
from tests.fixtures import make_project, params, save_teacher, tree

distributed = pytest.importorskip("distributed")

from stages.teach import cluster as of_cluster  # noqa: E402

TRAIN = Path("data/targets/tiny/coco-train.zarr")
PATIENCE = 120
"""Seconds until a test gives up; it takes a few."""


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread. A lock outlives its dead holder for three seconds, not for Dask's thirty."""
    with (
        dask.config.set({"distributed.scheduler.locks.lease-timeout": "3s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose images are a shard each, and the bytes of an undisturbed local run."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place, people=16)
        prepare.run(project_of(params()), log=lambda line: None)
        taught()
        undisturbed = tree(Path("data/targets/tiny"))
        shutil.rmtree("data/targets")
    return place, undisturbed


@pytest.fixture
def crowded(made, tmp_path, monkeypatch):
    """A copy of it, the current folder; the bytes."""
    place, undisturbed = made
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return undisturbed


def taught(scheduler=None, batch=64, **changes):
    lines: list[str] = []
    teach.run(project_of(params(**changes)), "tiny", "cpu", batch, log=lines.append, scheduler=scheduler)
    return lines


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(cluster, crowded):
    lines = taught(cluster.scheduler_address)
    assert lines[1] == f"teacher tiny: 2 workers of {cluster.scheduler_address} on CPUExecutionProvider"
    assert tree(Path("data/targets/tiny")) == crowded
    assert verify_store(TRAIN) == []
    again = taught(cluster.scheduler_address)
    assert f"{TRAIN}: complete" in again and "0 processed now" in again[-1]

    # What a stopped run has left with the workers is not written into a store of other inputs.
    left: list[ShardJob] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="has become a store of other inputs"):
        plain = of_cluster.write_shards_on_cluster
        patch.setattr(
            of_cluster, "write_shards_on_cluster", lambda *given: plain(*given[:3], kept(given[3], left), given[4])
        )
        TRAIN.joinpath("manifest.json").unlink()
        shutil.rmtree(TRAIN / "done/c")
        taught(cluster.scheduler_address)
    assert left


def kept(jobs, left):
    """The jobs, of an earlier teacher, each also put into a list."""
    for job in jobs:
        left.append(job)
        yield replace(job, fingerprint={**job.fingerprint, "teacher": "an earlier one"})


@pytest.mark.slow
def test_workers_write_to_object_storage(cluster, crowded, monkeypatch):
    """They share no folder of stores, only where the environment leads to; without it they say so."""
    pytest.importorskip("obstore")
    with serving(Bucket()) as bucket, distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        there = {"AWS_ENDPOINT_URL": bucket.address, "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": "secret"}
        for name, value in there.items():
            monkeypatch.setenv(name, value)

        def started_with(environment):
            os.environ.update(environment)
            remote._client.cache_clear()

        client.run(started_with, there | {"AWS_ACCESS_KEY_ID": "nobody"})
        with pytest.raises(UserError, match=r"^s3://.*: cannot be used \("):
            taught(cluster.scheduler_address, targets=f"s3://{BUCKET}/far")
        client.run(started_with, there)
        taught(cluster.scheduler_address, targets=f"s3://{BUCKET}/far")
        assert bucket.below("far/tiny/") == crowded
    assert sorted(tree(Path("data/targets/tiny"))) == ["coco-train.json", "coco-validation.json"]


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_shard_only(cluster, crowded):
    """A image that never ends holds one worker inside its shard while the other one goes on; there it is killed."""
    held = Path("pictures/05.jpg")
    whole = held.read_bytes()
    held.unlink()
    os.mkfifo(held)
    ended: list[object] = []

    def run():
        try:
            ended.append(taught(cluster.scheduler_address)[-1])
        except BaseException as error:
            ended.append(error)

    running = threading.Thread(target=run)
    running.start()
    try:
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            stuck = _stuck_worker(client)
            written = {file: file.stat().st_mtime_ns for file in TRAIN.rglob("c/*") if file.is_file()}
            aside = Path("whole.jpg")
            aside.write_bytes(whole)
            aside.replace(held)
            os.kill(client.run(os.getpid, workers=[stuck])[stuck], signal.SIGKILL)
        running.join(PATIENCE)
    finally:
        if held.is_fifo():
            held.unlink()
            held.write_bytes(whole)
    assert ended and str(ended[0]).startswith("teacher tiny: 192 people x 2 views"), ended
    assert tree(Path("data/targets/tiny")) == crowded
    kept = [file for file, when in written.items() if file.stat().st_mtime_ns == when]
    assert len(kept) == len(written) > 0, "what was done is not written again"


def _stuck_worker(client) -> str:
    """The worker that has been at the same task for a while when nobody else is busy."""
    deadline, before, since = time.monotonic() + PATIENCE, None, time.monotonic()
    while time.monotonic() < deadline:
        busy = {worker: tuple(tasks) for worker, tasks in client.processing().items() if tasks}
        if busy != before or not busy:
            before, since = busy, time.monotonic()
        elif len(busy) == 1 and time.monotonic() > since + 1.0:
            return next(iter(busy))
        time.sleep(0.05)
    raise AssertionError(f"expected one busy worker, found {before}")


@pytest.mark.slow
def test_a_worker_s_error_is_the_user_s_one_line(cluster, crowded):
    Path("pictures/02.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"pictures/02\.jpg: ") as error:
        taught(cluster.scheduler_address)
    assert "\n" not in str(error.value)
    assert not (TRAIN / "manifest.json").exists()


@pytest.mark.slow
def test_another_teacher_file_is_opened_again(cluster, crowded):
    """The worker keeps what it has opened, under the file's content."""
    taught(cluster.scheduler_address)
    save_teacher(Path("tiny.onnx"), batch=5)
    assert f"{TRAIN}: rebuilt: teacher was " in "\n".join(taught(cluster.scheduler_address))
    found = tree(Path("data/targets/tiny"))
    assert {name for name in crowded if found[name] != crowded[name] and not name.endswith(".json")} == set()


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_store_says_so(cluster, crowded, monkeypatch):
    monkeypatch.setattr(of_cluster, "_absolute", lambda job: job)
    with pytest.raises(UserError, match="expected a file system that client and workers share"):
        taught(cluster.scheduler_address)


def test_no_scheduler_is_one_line(project, monkeypatch):
    monkeypatch.setattr(of_cluster, "CONNECT_SECONDS", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(UserError, match=f"--scheduler {address}: no Dask scheduler answers") as error:
            taught(address)
        assert "\n" not in str(error.value)
    assert not Path("data/targets").exists()


@pytest.mark.slow
def test_a_cluster_without_workers_is_one_line(project):
    empty = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0", silence_logs=50)
    with empty, pytest.raises(UserError, match="expected workers, found none: start some with `dask worker "):
        taught(empty.scheduler_address)


def test_without_distributed_it_names_what_to_install(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "stages.teach.cluster", None)
    monkeypatch.delattr("stages.teach.cluster", raising=False)
    with pytest.raises(UserError, match=r"pip install 'pose-fusion\[cluster\]'"):
        taught("tcp://127.0.0.1:9")


def test_workers_share_their_machine_s_cores(monkeypatch):
    class Worker:
        address = "tcp://10.0.0.1:5001"

    monkeypatch.setattr(of_cluster, "cores", lambda: 16)
    assert of_cluster._threads(Worker, {"tcp://10.0.0.1": 4, "tcp://10.0.0.2": 1}) == 4
    assert of_cluster._threads(Worker, {}) == 16
    assert of_cluster._threads(Worker, {"tcp://10.0.0.1": 40}) == 1
