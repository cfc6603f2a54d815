"""What ends a run from outside: killed, no room, no permission, a wrong clock, a dead thread. The next run makes it whole.

Elsewhere: a Dask worker that dies (tests/stages/teach/test_teach_cluster.py), a signal between steps and two trainings of one name
(tests/stages/training/test_long_runs.py), two `teach` of one store (tests/stages/teach/test_teach.py), what a killed writer leaves
(tests/cache/test_resume.py). Two hundred kills: `python -m endurance.kills`.
"""

import ast
import errno
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cache.writer
import cli
from cache.reader import verify_store
from endurance.commands import commands
from endurance.kills import Stage, Trial, damage_store, difference, snapshot
from pipeline.people import images
from pipeline.training.trainer import Trainer
from stages.distill import run as distill
from stages.project.project import project_of
from stages.teach import run as teach
from stages.training import loader as training_data
from tests.closure import ROOT
from tests.faults.test_hostile import source
from tests.fixtures import params, tree

TARGETS = Path("data/targets")
TRAIN = TARGETS / "tiny/coco-train.zarr"
STUDENT = Path("data/students/one")
CHECKPOINTS = Path("data/checkpoints")
CHECKPOINT = CHECKPOINTS / "student-one.pt"
WEIGHTS = ("student.safetensors", "curve.csv")


def parameters() -> dict[str, Any]:
    """Eight steps of a tiny student of one teacher, each kept."""
    recipe = {"steps": 8, "batch": 4, "precision": "float32", "checkpoint_seconds": 0}
    terms = {"truth": 0.5, "tiny": 0.5}
    return params(
        distill={"width": 8, "input": [64, 32], "terms": terms, "min_score": 0.0, "training": recipe},
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
    )


def taught() -> list[str]:
    """What `teach` says."""
    lines: list[str] = []
    teach.run(project_of(params()), "tiny", "cpu", log=lines.append)
    return lines


def distilled() -> list[str]:
    """What `distill` says."""
    lines: list[str] = []
    distill.run(project_of(parameters()), None, "cpu", log=lines.append)
    return lines


def weights() -> list[str]:
    """Digests of what was trained."""
    files = tree(STUDENT)
    return [files[name] for name in WEIGHTS]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def expected(taught) -> dict[str, str]:
    """The stores of an undisturbed run, which are away again."""
    found = tree(TARGETS)
    TARGETS.rename("undisturbed")
    return found


@pytest.fixture
def expected_weights(taught) -> list[str]:
    """Those of an undisturbed training; the stores are there."""
    distilled()
    return weights()


def stores() -> dict[str, str]:
    """Digests of all targets, without locks."""
    return {file: digest for file, digest in tree(TARGETS).items() if not file.endswith(".lock")}


def without_locks(found: dict[str, str]) -> dict[str, str]:
    return {file: digest for file, digest in found.items() if not file.endswith(".lock")}


@pytest.mark.long
def test_killed_stages_end_with_the_bytes_of_an_undisturbed_line(project):
    Path("params.yaml").write_text(yaml.safe_dump(parameters()))
    seed = time.time_ns()
    with commands(project, ROOT) as served:
        line = [
            Stage(("prepare",)),
            Stage(("teach", "--teacher", "tiny"), 2, damage_store("tiny")),
            Stage(("distill",), 2),
        ]
        trial = Trial(project, served, line, random.Random(seed))
        trial.undisturbed()
        assert {"data/students/one/student.safetensors", "data/targets/tiny/coco-train.zarr/done/c/2"} <= set(
            trial.expected
        )
        while len(trial.kills) < 6 and trial.ended_first < 20:
            assert trial.kill() == [], f"seed {seed}: {trial.kills}"
    assert len(trial.kills) >= 6


def test_the_comparison_sees_other_missing_and_left_over_files(project):
    (project / "data/other").write_text("a")
    before = snapshot(project)
    (project / "data/other").write_text("b")
    (project / "data/more").write_text("")
    (project / "data/people/coco/train-people.parquet").unlink()
    assert difference(snapshot(project), before) == [
        "data/more: left over",
        "data/other: other bytes",
        "data/people/coco/train-people.parquet: missing",
    ]


WRITERS = {
    "pipeline/common/locks.py": "the holder, which no run reads",
    "stages/fetch/archives.py": "in a folder that is renamed",
    "pipeline/common/files.py": "aside",
    "pipeline/people/table.py": "aside",
    "stages/training/checkpoints.py": "aside",
    "stages/fetch/download.py": "aside, and goes on there",
    "stages/predict/drawing.py": "in a folder that is renamed",
    "stages/repro/run.py": "a line at the end of a history that is only read for the time left",
    "stages/repro/running.py": "what a stage prints, which nothing else reads",
    "stages/sample.py": "in a folder that is renamed",
}
"""Modules that write a file by themselves, and where; all others have `write_atomically` do it."""


def writes(call: ast.Call) -> bool:
    """Is it one that makes a file, by its name and arguments?"""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = [each.value if isinstance(each, ast.Constant) else getattr(each, "id", None) for each in call.args]
    if name in ("save", "savefig"):
        return "stream" not in given
    if name == "open" or (isinstance(call.func, ast.Name) and call.func.id == "open"):
        return any(each in ("w", "wb", "x", "xb", "a", "ab") for each in given)
    return name in ("write_text", "write_bytes", "write_table", "imwrite", "savemat", "tofile")


def test_files_are_written_aside():
    found = {
        file.relative_to(ROOT).as_posix()
        for file, module in source()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and writes(node)
    }
    assert found == set(WRITERS)


def mount(*arguments: str) -> None:
    """`mount`, or skip where one may not."""
    try:
        found = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `mount` here")
    if found.returncode:
        pytest.skip(f"may not mount a file system: {found.stderr.strip()}")


@pytest.fixture
def disk() -> Iterator[Callable[[Path, str], None]]:
    """Puts a small file system of its own at a folder, or changes its options."""
    mounted: list[Path] = []

    def options(place: Path, text: str) -> None:
        again = "remount," if place in mounted else ""
        place.mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", again + text, "tmpfs", str(place))
        mounted.append(place)

    yield options
    for place in set(mounted):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line with which a command ends."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *command])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capsys.readouterr().err
    assert end.value.code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
    return err


def test_stores_on_a_full_disk(expected, disk, monkeypatch, capsys):
    disk(TARGETS.absolute(), "size=100k")
    line = refused(monkeypatch, capsys, "teach", "--teacher", "tiny", "--device", "cpu")
    assert line.endswith(": No space left on device: free some disk space or correct its permissions\n")
    assert not (TRAIN / "manifest.json").exists()
    disk(TARGETS.absolute(), "size=4m")
    assert any("shards were done" in each for each in taught())
    assert stores() == without_locks(expected) and verify_store(TRAIN) == []


def test_stores_where_nothing_may_be_written(expected, disk, monkeypatch, capsys):
    disk(TARGETS.absolute(), "size=4m")
    taught()
    (TRAIN / "score/c/1/0/0").unlink()
    left = tree(TARGETS)
    disk(TARGETS.absolute(), "ro")
    line = refused(monkeypatch, capsys, "teach", "--teacher", "tiny", "--device", "cpu")
    assert line.endswith(": Read-only file system: free some disk space or correct its permissions\n")
    assert tree(TARGETS) == left
    disk(TARGETS.absolute(), "rw")
    taught()
    assert stores() == without_locks(expected)


@pytest.fixture
def locked_folder() -> Iterator[Callable[[Path], Callable[[], None]]]:
    """Takes the permission to write from a folder; what it returns gives it back."""
    gone: list[Path] = []

    def change(folder: Path, locked: bool) -> None:
        if os.geteuid():
            folder.chmod(0o500 if locked else 0o700)
            return
        try:
            command = ["chattr", "+i" if locked else "-i", str(folder)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("root may write anywhere, and there is no `chattr`")
        if found.returncode:
            pytest.skip(f"root may write anywhere: {found.stderr.strip()}")

    def lock(folder: Path) -> Callable[[], None]:
        change(folder.absolute(), True)
        gone.append(folder.absolute())
        return give_back

    def give_back() -> None:
        while gone:
            change(gone.pop(), False)

    yield lock
    give_back()


def test_a_permission_that_is_lost_in_the_middle(expected, locked_folder, monkeypatch, capsys):
    """After the first shard, whoever looks after the disk takes it away."""
    plain, give_back = cache.writer.write_shard, []

    def written(path: Path, layout: Any, shard: int, block: Any) -> None:
        plain(path, layout, shard, block)
        if not give_back:
            give_back.append(locked_folder(path / "peak/c"))

    with monkeypatch.context() as patch:
        patch.setattr("stages.teach.stream.write_shard", written)
        line = refused(patch, capsys, "teach", "--teacher", "tiny", "--device", "cpu")
    assert "Operation not permitted: free some" in line or "Permission denied: free some" in line
    give_back[0]()
    assert any("shards were done" in each for each in taught())
    assert stores() == without_locks(expected)


def test_a_checkpoint_on_a_full_disk_keeps_the_one_before(expected_weights, disk, monkeypatch, capsys):
    """There is room for one and a half: the first is written, the second one beside it is not."""
    Path("params.yaml").write_text(yaml.safe_dump(parameters()))
    disk(CHECKPOINTS.absolute(), "size=16m")
    size = checkpoint_bytes(monkeypatch)
    disk(CHECKPOINTS.absolute(), f"size={size * 3 // 2 // 1024}k")
    CHECKPOINT.unlink()
    line = refused(monkeypatch, capsys, "distill", "--device", "cpu")
    assert line.endswith(": No space left on device: free some disk space or correct its permissions\n")
    assert sorted(path.name for path in CHECKPOINTS.iterdir()) == [CHECKPOINT.name, f"{CHECKPOINT.name}.lock"]
    disk(CHECKPOINTS.absolute(), "size=16m")
    assert distilled()[0] == f"resuming from {CHECKPOINT}, step 1"
    assert weights() == expected_weights


def checkpoint_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """Of the file that a training which dies in its third step leaves."""
    plain = Trainer.step

    def step(self: Trainer, batch: Any) -> dict[str, float]:
        if self.steps_done == 2:
            raise MemoryError
        return plain(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        with pytest.raises(MemoryError):
            distilled()
    return CHECKPOINT.stat().st_size


def dies_reading(patch: pytest.MonkeyPatch, after: int) -> None:
    """Make the thread that reads images die after that many of them."""
    plain, count = images.read_image, itertools.count()

    def read(*arguments: Any) -> Any:
        if next(count) >= after:
            raise MemoryError("the reader died")
        return plain(*arguments)

    patch.setattr(training_data, "read_image", read)


def test_a_reading_thread_that_dies_ends_the_training_and_its_threads(expected_weights, monkeypatch):
    before = threading.active_count()
    with monkeypatch.context() as patch:
        # of ten images, each of which is read once
        dies_reading(patch, after=8)
        with pytest.raises(MemoryError, match="the reader died"):
            distilled()
    assert threading.active_count() == before
    distilled()
    assert weights() == expected_weights and not CHECKPOINT.exists()


def test_power_that_fails_between_the_data_of_a_shard_and_its_done(expected, monkeypatch):
    """What was not flushed is lost: the file has its name, and no content."""

    class Power(BaseException):
        pass

    plain = cache.writer.flush

    def flush(path: Path) -> None:
        if path.as_posix().endswith("coco-train.zarr/score/c/1/0/0"):
            path.write_bytes(bytes(path.stat().st_size))
            raise Power
        plain(path)

    with monkeypatch.context() as patch:
        patch.setattr(cache.writer, "flush", flush)
        with pytest.raises(Power):
            taught()
    assert (TRAIN / "heatmaps/c/1/0/0/0/0").exists() and not (TRAIN / "done/c/1").exists()
    assert any("shards were done" in line for line in taught())
    assert stores() == without_locks(expected)


@pytest.mark.parametrize("jump", [0.0, -86400.0, 1e7], ids=["stands still", "a day back", "months ahead"])
def test_a_clock_that_jumps_changes_nothing(expected, monkeypatch, jump):
    """With every look at a clock, any clock: whatever is measured with them, no target and no weight follows from it."""
    first = taught() and without_locks(tree(TARGETS))
    assert first == without_locks(expected)
    distilled()
    undisturbed = weights()
    TARGETS.rename("again")
    now = itertools.count()
    with monkeypatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter"):
            patch.setattr(time, name, lambda: 1e9 + next(now) * jump)
        taught()
        distilled()
    assert stores() == without_locks(expected)
    assert weights() == undisturbed


def test_errors_of_the_disk_have_one_line(monkeypatch, capsys, project):
    """Whichever the system reports."""
    for number in (errno.EIO, errno.EDQUOT, errno.EMFILE):
        with monkeypatch.context() as patch:

            def fails(*arguments: Any, number: int = number) -> None:
                raise OSError(number, os.strerror(number), str(TRAIN))

            patch.setattr("stages.teach.run.open_for_writing", fails)
            line = refused(patch, capsys, "teach", "--teacher", "tiny", "--device", "cpu")
        assert line == f"error: {TRAIN}: {os.strerror(number)}: free some disk space or correct its permissions\n"
