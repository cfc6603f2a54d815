"""Our own files open by what they carry, under names that no table has; other files are refused with the next command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.inference.exported import exported_spec, open_exported
from pipeline.pose.skeletons import COCO17, MPII16, union
from tests.fixtures import INPUT_WH, PARAMS, save_teacher

NAMES = list(union((COCO17, MPII16)).keypoints)
SPEC = {key: value for key, value in PARAMS["teachers"]["tiny"].items() if key not in ("onnx", "dataset")}
UNIFIED = {**SPEC, "skeleton": "unified"}


def save(path: Path, spec: Any = UNIFIED, names: Any = NAMES, keypoints: int = 21) -> Path:
    save_teacher(
        path, keypoints, metadata={"pose_fusion.spec": json.dumps(spec), "pose_fusion.keypoints": json.dumps(names)}
    )
    return path


def test_spec_and_names_are_the_files(tmp_path: Path) -> None:
    student = open_exported(save(tmp_path / "a.onnx"), "cpu")
    assert student.spec.skeleton.name == "unified"
    assert student.spec.skeleton.keypoints == tuple(NAMES)
    assert (student.spec.input_wh, student.spec.mean) == (INPUT_WH, (120.0, 115.0, 100.0))
    maps = student.forward(3)(np.zeros((5, 32, 24, 3), np.uint8))[0]
    assert maps.shape == (5, 21, 8, 6)


def test_the_order_of_names_is_the_files(tmp_path: Path) -> None:
    assert exported_spec(save(tmp_path / "a.onnx", names=NAMES[::-1])).skeleton.keypoints == tuple(NAMES[::-1])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "does not exist: `pipeline export` writes such a file"),
        ("text", "not a readable ONNX file"),
        ("a stranger", "pipeline teacher spec"),
        ("no json", "the spec it carries is not readable: export it again"),
        ("no mapping", "expected a spec and different names of keypoints in its metadata"),
        ("one name twice", "expected a spec and different names of keypoints in its metadata"),
        ("a key lost", "spec: missing padding"),
        ("too few names", "expected outputs of the 20 keypoints of unified"),
    ],
)
def test_what_is_none_of_ours(tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "a.onnx"
    if how == "text":
        path.write_text("hello")
    elif how == "a stranger":
        save_teacher(path)
    elif how == "no json":
        save_teacher(path, metadata={"pose_fusion.spec": "{", "pose_fusion.keypoints": "[]"})
    elif how == "no mapping":
        save(path, spec=[])
    elif how == "one name twice":
        save(path, names=[*NAMES[:20], "nose"])
    elif how == "a key lost":
        save(path, spec={key: value for key, value in UNIFIED.items() if key != "padding"})
    elif how == "too few names":
        save(path, names=NAMES[:20])
    with pytest.raises(UserError) as error:
        open_exported(path, "cpu")
    assert message in str(error.value) and "\n" not in str(error.value)
