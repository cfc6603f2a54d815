"""`teacher spec`: values that a file states are taken from it, others are left to the user, and the lines can be pasted."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from pipeline.common.errors import UserError
from pipeline.pose.spec import parse_spec, spec_values
from pipeline.teachers.spec_proposal import USUAL, propose_spec
from stages import teacher_spec as stage
from tests.fixtures import save_teacher
from tests.pipeline.examples import spec


def save_bins(path: Path, keypoints: int, bins: tuple[int, ...], input_hw: tuple[object, object]) -> None:
    """Save a network that gives rows of bins: the crops' mean times constants."""
    height, width = input_hw
    nodes = [helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=1)]
    nodes.append(helper.make_node("Squeeze", ["mean", "last"], ["level"]))
    outputs, constants = [], [numpy_helper.from_array(np.array([3]), "last")]
    for n, count in enumerate(bins):
        rows = np.random.default_rng(n).normal(size=(1, keypoints, count)).astype(np.float32)
        constants.append(numpy_helper.from_array(rows, f"rows{n}"))
        nodes.append(helper.make_node("Mul", ["level", f"rows{n}"], [f"bins{n}"]))
        outputs.append(helper.make_tensor_value_info(f"bins{n}", TensorProto.FLOAT, ["batch", keypoints, count]))
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, height, width])
    graph = helper.make_graph(nodes, "bins", [crops], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_maps_of_a_known_size(tmp_path: Path) -> None:
    save_teacher(tmp_path / "a.onnx", keypoints=16, batch=1, input_wh=(24, 32))
    found = propose_spec(tmp_path / "a.onnx")
    assert found.values == {"skeleton": "mpii16", "input": [32, 24], "kind": "heatmap", **USUAL}
    assert found.source["input"] == "the file"
    assert "ask its maker" in found.source["color"]


def test_bins_of_an_unknown_size(tmp_path: Path) -> None:
    save_bins(tmp_path / "a.onnx", 26, (384, 512), ("height", "width"))
    found = propose_spec(tmp_path / "a.onnx")
    assert found.values["kind"] == "simcc"
    assert found.values["skeleton"] == "halpe26"
    assert found.values["input"] == [256, 192]
    assert "ask its maker" in found.source["input"]
    assert "outputs" not in found.values


def test_three_outputs_are_too_many_to_choose_without_a_word(tmp_path: Path) -> None:
    save_bins(tmp_path / "a.onnx", 17, (384, 512, 100), (256, 192))
    found = propose_spec(tmp_path / "a.onnx")
    assert found.values["outputs"] == ["bins0", "bins1"]
    assert (
        found.source["outputs"]
        == "x, then y, if its maker says so; it has bins0 [1, 17, 384], bins1 [1, 17, 512], bins2 [1, 17, 100]"
    )


def test_a_file_of_ours_carries_its_spec(tmp_path: Path) -> None:
    import json

    inside = spec_values(spec(kind="heatmap"))
    save_teacher(tmp_path / "a.onnx", metadata={"pose_fusion.spec": json.dumps(inside)})
    found = propose_spec(tmp_path / "a.onnx")
    assert found.values == inside
    assert set(found.source.values()) == {"written in the file"}


def test_what_is_printed_can_be_pasted(tmp_path: Path) -> None:
    save_teacher(tmp_path / "mine.onnx")
    lines: list[str] = []
    stage.run(tmp_path / "mine.onnx", lines.append)
    entry = yaml.safe_load("\n".join(lines[:-1]))["teachers"]["mine"]
    assert entry.pop("onnx") == str(tmp_path / "mine.onnx")
    assert entry.pop("dataset") == "NAME"
    assert parse_spec(entry, "pasted").input_wh == (24, 32)
    assert "pipeline teacher check --teacher mine" in lines[-1]


def test_keypoints_of_no_known_skeleton_are_said_to_be(tmp_path: Path) -> None:
    save_teacher(tmp_path / "a.onnx", keypoints=5)
    assert propose_spec(tmp_path / "a.onnx").values["skeleton"] == "(none has 5 keypoints)"


def spoilt(path: Path, how: str) -> None:
    if how == "absent":
        path.unlink(missing_ok=True)
    elif how == "truncated":
        save_teacher(path)
        path.write_bytes(path.read_bytes()[:200])
    elif how == "one row of bins":
        save_bins(path, 17, (384,), (256, 192))
    elif how == "a picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "does not exist: name an ONNX file"),
        ("truncated", "a.onnx"),
        ("a picture", "a.onnx"),
        ("one row of bins", "expected maps or two rows of bins per keypoint, found {'bins0': (1, 17, 384)}"),
    ],
)
def test_what_cannot_be_a_teacher(tmp_path: Path, how: str, message: str) -> None:
    spoilt(tmp_path / "a.onnx", how)
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        propose_spec(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "name"), [("rtm.v2.onnx", "rtm-v2"), ("my net.onnx", "my-net"), ("123.onnx", "teacher-123")]
)
def test_a_name_is_one_that_params_yaml_takes(tmp_path: Path, file: str, name: str) -> None:
    save_teacher(tmp_path / file)
    lines: list[str] = []
    stage.run(tmp_path / file, lines.append)
    assert lines[1] == f"  {name}:" and f"`pipeline teacher check --teacher {name}`" in lines[-1]
