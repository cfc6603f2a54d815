"""A killed `teach` goes on inside its shard, behind the people that were done, and ends with the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from stages import prepare
from stages.project.project import project_of
from stages.teach import run as teach
from stages.teach import stream, unfinished
from tests.conftest import copy_of
from tests.fixtures import make_project, params, tree

FIRST = Path("data/targets/tiny/coco-train.unfinished-0.npz")
BATCH = 6
"""Crops per batch: three people in two views."""
VALUES = params(teach__shard=32)


def run(killed_in: int | None = None) -> int:
    """Teach, up to that batch if one is given; the people that the teacher ran on."""
    batches: list[int] = []
    real = stream.run_teacher

    def counting(teacher, inputs, batch):
        batches.append(len(inputs))
        if len(batches) == killed_in:
            raise KeyboardInterrupt
        return real(teacher, inputs, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "run_teacher", counting)
        patch.setattr(unfinished, "SECONDS", 0.0)
        teach.run(project_of(VALUES), "tiny", "cpu", BATCH, log=lambda line: None)
    return sum(batches) // 2


@pytest.fixture(scope="module")
def killed_elsewhere(tmp_path_factory):
    """A run that was killed in its first shard of 32 people, after some batches; the undisturbed one, and whom the teacher ran on."""
    folder = tmp_path_factory.mktemp("killed")
    make_project(folder, images=5, people=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare.run(project_of(VALUES), log=lambda line: None)
        everybody = run()
        undisturbed = tree(Path("data/targets/tiny"))
        assert not list(Path("data/targets/tiny").glob("*.npz"))
        Path("data/targets").rename("undisturbed")
        with pytest.raises(KeyboardInterrupt):
            run(killed_in=9)
    return folder, undisturbed, everybody


@pytest.fixture
def killed(killed_elsewhere, tmp_path, monkeypatch):
    """A copy of it, the current folder; the undisturbed run, and whom the teacher ran on."""
    folder, *undisturbed = killed_elsewhere
    copy_of(folder, tmp_path, monkeypatch)
    return undisturbed


def test_it_goes_on_behind_the_people_that_were_done(killed):
    undisturbed, everybody = killed
    with np.load(FIRST) as stored:
        kept = int(stored["people"])
    assert 3 <= kept <= 24 and kept % 3 == 0
    assert run() == everybody - kept
    assert tree(Path("data/targets/tiny")) == undisturbed


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another teacher"])
def test_a_file_that_does_not_fit_counts_for_nothing(killed, damage):
    undisturbed, everybody = killed
    content = bytearray(FIRST.read_bytes())
    if damage == "of another teacher":
        with np.load(FIRST) as stored:
            arrays = {**stored, "identity": np.array("0" * 64)}
        arrays["score"][:] = 1
        np.savez(FIRST, **arrays)
    else:
        content[len(content) // 2] ^= 1
        FIRST.write_bytes(content[:-100] if damage == "cut" else content)
    assert run() == everybody
    assert tree(Path("data/targets/tiny")) == undisturbed


def test_a_run_that_keeps_nothing_removes_what_another_has_left(killed, monkeypatch):
    """As a cluster that finishes the store; and what a kill has left of a file that was being written."""
    undisturbed, _ = killed
    FIRST.with_name(FIRST.name + ".partial").touch()
    executor = teach.Executor
    monkeypatch.setattr(teach, "Executor", lambda provider, write, keeps: executor(provider, write, False))
    assert FIRST.is_file() and run() > 0
    assert tree(Path("data/targets/tiny")) == undisturbed
