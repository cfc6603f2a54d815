"""A killed `teach` goes on inside its shard, behind the people that were done, and ends with the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from stages import prepare
from stages.project.project import project_of
from stages.teach import run as teach
from stages.teach import stream, unfinished
from tests.fixtures import make_project, params, tree

FIRST = Path("data/targets/tiny/coco-train.unfinished-0.npz")
BATCH = 6
"""Crops per batch: three people in two views."""


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A run that was killed in its first shard of 32 people, after some batches; the undisturbed one, and who the teacher ran on."""
    make_project(tmp_path, people=40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    prepare.run(project_of(VALUES), log=lambda line: None)
    run()
    undisturbed = tree(Path("data/targets/tiny"))
    assert not list(Path("data/targets/tiny").glob("*.npz"))
    Path("data/targets").rename("undisturbed")
    batches: list[int] = []
    real = stream.run_teacher

    def counting(teacher, inputs, batch):
        batches.append(len(inputs))
        if len(batches) == 9:
            raise KeyboardInterrupt
        return real(teacher, inputs, batch)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "run_teacher", counting)
        with pytest.raises(KeyboardInterrupt):
            run()
    batches.clear()
    monkeypatch.setattr(stream, "run_teacher", lambda *arguments: batches.append(len(arguments[1])) or real(*arguments))
    return undisturbed, batches


VALUES = params(teach__shard=32)


def run(values=VALUES) -> None:
    teach.run(project_of(values), "tiny", "cpu", BATCH, log=lambda line: None)


def people_kept() -> int:
    with np.load(FIRST) as stored:
        return int(stored["people"])


def everybody(batches: list[int]) -> int:
    return sum(batches) // 2


def test_it_goes_on_behind_the_people_that_were_done(killed):
    undisturbed, batches = killed
    kept = people_kept()
    assert 3 <= kept <= 24 and kept % 3 == 0
    run()
    again = everybody(batches)
    assert tree(Path("data/targets/tiny")) == undisturbed
    Path("data/targets").rename("resumed")
    batches.clear()
    run()
    assert again == everybody(batches) - kept


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another teacher"])
def test_a_file_that_does_not_fit_counts_for_nothing(killed, damage):
    undisturbed, batches = killed
    content = bytearray(FIRST.read_bytes())
    if damage == "of another teacher":
        with np.load(FIRST) as stored:
            arrays = {**stored, "identity": np.array("0" * 64)}
        arrays["score"][:] = 1
        np.savez(FIRST, **arrays)
    else:
        content[len(content) // 2] ^= 1
        FIRST.write_bytes(content[:-100] if damage == "cut" else content)
    run()
    assert tree(Path("data/targets/tiny")) == undisturbed
    Path("data/targets").rename("resumed")
    resumed = everybody(batches)
    batches.clear()
    run()
    assert resumed == everybody(batches)
