"""The stream behind `teach`: an image is read once, what waits is bounded, errors come in order, and threads end."""

import contextlib
import functools
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import pytest

from cache.targets import TargetLayout
from cache.writer import open_for_writing
from pipeline.common.errors import UserError
from pipeline.inference.session import open_teacher
from stages import prepare
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.teach import run as teach
from stages.teach import stream
from stages.teach.shards import batches_of, people_per_batch, shard_job
from stages.teach.stream import INPUT_BATCHES, OUTPUT_BATCHES, PENDING_WRITES, write_shards
from tests.cache.stores import fingerprint
from tests.fixtures import TARGET_WH, make_project, params, tree

ROOT = Path(__file__).resolve().parents[3]
TRAIN = Path("data/targets/tiny/coco-train.zarr")


@pytest.fixture
def crowded(tmp_path, monkeypatch):
    """Ten images of six people, so that shards of 16 cut through images."""
    make_project(tmp_path, images=10, people=6)
    monkeypatch.chdir(tmp_path)
    prepare.run(project_of(params()), log=lambda line: None)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """How often each image is read."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()

    def counting(path, wh, size):
        with lock:
            counts[Path(path).name] += 1
        return read(path, wh, size)

    read = stream.read_prepared_image
    monkeypatch.setattr(stream, "read_prepared_image", counting)
    return counts


def opened():
    return open_teacher("tiny", Path("tiny.onnx"), project_of(params()).teacher("tiny").spec, "cpu", 1)


def jobs(path=Path("some.zarr")):
    """Of the training people, at shards of 16."""
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    layout = TargetLayout(len(people), len(views), 17, TARGET_WH[1], TARGET_WH[0], people_per_shard=16)
    open_for_writing(path, layout, fingerprint(layout))
    return [shard_job("coco", path, layout, b, Path("pictures"), people, views) for b in range(layout.shards)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.mark.parametrize("batch", [6, 12, 64], ids=["3 people a batch", "6", "as many as a shard has"])
def test_an_image_is_read_once_across_batches_and_shards(crowded, reads, batch):
    """With 3 people a batch, an image of 6 is in up to three batches: it is read for every two."""
    teach.run(project_of(params()), "tiny", "cpu", batch, log=lambda line: None)
    assert len(reads) == 10 and "unused.jpg" not in reads
    assert max(reads.values()) == (2 if batch == 6 else 1)


def test_batches_stay_inside_their_shard(crowded):
    job = jobs()[0]
    batches = batches_of(job, people_per_batch(64, 10))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, 15]]
    assert [batch.last for batch in batches] == [False, False, True]
    assert people_per_batch(4, 8) == 1


def test_what_waits_does_not_grow_with_the_jobs(crowded, monkeypatch):
    """Writing is held up: the stream asks for as many jobs as its queues hold, then for no more."""
    gate, asked = threading.Event(), []

    def slow(*arguments):
        gate.wait(60)

    def endless():
        for number, job in enumerate(itertools.cycle(jobs())):
            asked.append(number)
            if number == 40:
                return
            yield job

    monkeypatch.setattr(stream, "write_shard", slow)
    with contextlib.closing(write_shards(opened(), endless(), 32, 8)) as counts:
        consumer = threading.Thread(target=lambda: list(counts))
        consumer.start()
        most = PENDING_WRITES + 1 + OUTPUT_BATCHES + 1 + INPUT_BATCHES + 1
        seen = -1
        while len(asked) != seen:  # until nothing more is asked for
            seen = len(asked)
            time.sleep(0.3)
        assert PENDING_WRITES < seen <= most, "a batch of 16 people is a job here"
        assert threads()
        gate.set()
        consumer.join(60)
    assert len(asked) == 41 and not threads()


def test_people_are_counted_in_order(crowded):
    all_jobs = jobs()
    assert list(write_shards(opened(), all_jobs, 5, 3)) == [job.people_in_use for job in all_jobs]
    assert not threads()


def test_an_error_ends_the_threads_and_names_the_first_image(crowded):
    for name in ("03.jpg", "07.jpg"):
        Path("pictures", name).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"pictures/03\.jpg: "):
        list(write_shards(opened(), jobs(), 6, 4))
    assert not threads()


def test_what_is_judged_before_an_unreadable_image_is_written(crowded, monkeypatch):
    """It is in shard 1 alone; the judging of shard 0 ends after its reading has failed."""
    cut = jobs()
    name = str(cut[1].people.image[2])
    assert name not in cut[0].people.image
    Path("pictures", name).write_bytes(b"nothing")
    failed = threading.Event()
    read, plain = stream.read_prepared_image, stream.write_targets

    def reading(path, wh, size):
        if path.name == name:
            failed.set()
        return read(path, wh, size)

    def writing(*arguments):
        assert failed.wait(60)
        time.sleep(0.2)
        plain(*arguments)

    monkeypatch.setattr(stream, "read_prepared_image", reading)
    monkeypatch.setattr(stream, "write_targets", writing)
    with pytest.raises(
        UserError, match=rf"pictures/{name}: .*: correct it, then run `pipeline prepare --dataset coco`"
    ):
        list(write_shards(opened(), cut, 12, 8))
    assert [Path("some.zarr/done/c", str(b)).exists() for b in range(3)] == [True, False, False]
    assert not threads()


def test_an_error_of_the_writer_is_raised(crowded, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "peak/c/0")

    monkeypatch.setattr(stream, "write_shard", full)
    with pytest.raises(OSError, match="No space left"):
        list(write_shards(opened(), jobs(), 6, 4))
    assert not threads()


def test_an_interrupt_where_progress_is_shown_ends_the_threads(crowded):
    with contextlib.closing(write_shards(opened(), jobs(), 6, 2)) as counts, pytest.raises(KeyboardInterrupt):
        for _ in counts:
            raise KeyboardInterrupt
    assert not threads()


def test_opencv_has_its_threads_back(crowded):
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        list(write_shards(opened(), jobs()[:1], 6, 2))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_next_run_gives_the_same_bytes(tmp_path, monkeypatch):
    make_project(tmp_path, people=24)
    monkeypatch.chdir(tmp_path)
    prepare.run(project_of(params()), log=lambda line: None)
    teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    undisturbed = tree(Path("data/targets/tiny"))
    Path("data/targets").rename("undisturbed")
    command = [sys.executable, str(ROOT / "cli.py"), "teach", "--teacher", "tiny", "--device", "cpu"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a shell's background jobs ignore
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        while process.poll() is None and not (TRAIN / "done/c/0").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
    assert (process.returncode, errors.splitlines()[-1]) == (
        130,
        "interrupted: run the same command again to continue",
    ), errors
    assert not (TRAIN / "manifest.json").exists()
    teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    assert tree(Path("data/targets/tiny")) == undisturbed


def test_without_a_scheduler_dask_is_not_loaded(crowded):
    """In a process of its own, which runs the whole stage."""
    code = (
        "import json, sys; from stages.teach import run as teach; from stages.project.project import project_of; "
        f"teach.run(project_of({params()!r}), 'tiny', 'cpu', log=lambda line: None); "
        "print(json.dumps([name for name in ('dask', 'distributed') if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert json.loads(done.stdout) == []
