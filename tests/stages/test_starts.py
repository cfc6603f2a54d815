"""A student that goes on from another one."""

import dataclasses
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks.build import NetworkSettings, Student, build, load_student, save_student
from stages.starts import learned_from, start_of
from tests.pipeline.examples import spec

SPEC = dataclasses.replace(spec(input_wh=(32, 64)), kind="heatmap_logits")
SMALL = NetworkSettings("pyramid", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "unified"
    path.mkdir()
    save_student(Student(build(SMALL, SPEC), SMALL, SPEC), path, {})
    return path


def test_all_weights_are_taken(folder):
    start = start_of("pyramid", str(folder))
    assert start is not None
    torch.manual_seed(2)
    ours, theirs = build(SMALL, SPEC, start.file).state_dict(), load_student(folder).network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert learned_from(start.record) == (
        "It started from the student `unified`.",
        "Its start: what that student was learned from.",
    )


def test_a_student_of_another_network_is_refused(folder):
    with pytest.raises(
        UserError, match=r"unified: expected a student of network .*width=16.* to start from, found .*width=8"
    ):
        build(NetworkSettings("pyramid", 16), SPEC, folder)
    other = dataclasses.replace(SPEC, input_wh=(64, 64))
    with pytest.raises(UserError, match=r"expected a student of input \(width, height\) \(64, 64\) to start from"):
        build(SMALL, other, folder)


def test_a_pyramid_takes_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="leave `start` out, or name a trained student's folder"):
        start_of("pyramid", str(tmp_path / "cspnext.pth"))
