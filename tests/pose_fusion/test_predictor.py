"""`PoseFusion` gives what `pipeline predict` writes, without torch for an exported student, and refuses what it cannot mean."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import pose_fusion
from pipeline.export.onnx_export import export_onnx
from pipeline.networks.build import Student, save_student
from pipeline.networks.pyramid import Pyramid
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, union
from pipeline.pose.spec import parse_spec
from tests.closure import ROOT
from tests.colours import colour_params
from tests.fixtures import PARAMS
from tests.stages.predict.test_predict import NAMES, folder, run, truth

__all__ = ["folder"]
HUNDREDTH = 0.005 + 1e-9
"""predictions.json has hundredths of a pixel."""


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """A student's folder, and the ONNX file of the same weights."""
    torch.manual_seed(0)
    skeleton = union((COCO17, MPII16))
    values = {
        **PARAMS["teachers"]["tiny"],
        "skeleton": "unified",
        "input": [64, 32],
        "kind": "heatmap_logits",
        "flip": True,
    }
    student = Student(Pyramid(21, 8, 1).eval(), NetworkSettings(width=8), parse_spec(values, "spec", skeleton))
    (tmp_path / "student").mkdir()
    save_student(student, tmp_path / "student", {})
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 32, 3), dtype=np.uint8)
    export_onnx(student.network, student.spec, tmp_path / "student.onnx", crops)
    return tmp_path / "student", tmp_path / "student.onnx"


@pytest.mark.parametrize("batch", [1, 64])
def test_it_gives_what_predict_writes(folder: Path, batch: int) -> None:
    document, *_ = run("pictures", boxes=Path("annotations/train.json"), batch=batch)
    predict = pose_fusion.PoseFusion("student.onnx", "cpu", batch)
    for image in document["images"]:
        people = [each for each in document["annotations"] if each["image_id"] == image["id"]]
        boxes = [truth()[each["id"] - 1]["bbox"] for each in people]
        keypoints, scores = predict(pose_fusion.read_image(f"pictures/{image['file_name']}"), boxes)
        written = np.array([each["keypoints"] for each in people]).reshape(-1, 17, 3)
        assert np.abs(keypoints - written[:, :, :2]).max() <= HUNDREDTH
        assert np.abs(scores - [each["keypoint_confidences"] for each in people]).max() <= 5e-5 + 1e-9


def test_what_it_tells_is_what_the_file_carries(folder: Path) -> None:
    predict = pose_fusion.PoseFusion("student.onnx")
    assert predict.keypoints == NAMES
    assert {"left_elbow", "left_wrist"} in map(set, predict.limbs)
    assert {name for limb in predict.limbs for name in limb} <= set(NAMES)
    assert list(predict.spec.mean) == colour_params()["teachers"]["tiny"]["mean"]
    assert list(predict.spec.input_wh[::-1]) == colour_params()["teachers"]["tiny"]["input"]


def test_a_folder_gives_what_its_exported_file_gives(trained: tuple[Path, Path]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    boxes = np.array([[10.0, 20, 60, 90], [70, 5, 50, 100], [-5, -5, 40, 40]])
    by_torch, by_onnx = (pose_fusion.PoseFusion(place, "cpu") for place in trained)
    assert by_torch.spec == by_onnx.spec and by_torch.keypoints == union((COCO17, MPII16)).keypoints
    (points, scores), (expected, confidence) = by_onnx(image, boxes), by_torch(image, boxes)
    assert points.shape == (3, 21, 2) and scores.shape == (3, 21)
    # An untrained network's maps have equal maxima nearly, so a rounding of 1e-6 may choose another; scores move by as much.
    assert np.abs(scores - confidence).max() < 1e-4
    assert (np.abs(points - expected).max(axis=-1) < 0.01).mean() > 0.9


def test_nobody_is_no_error(folder: Path) -> None:
    keypoints, scores = pose_fusion.PoseFusion("student.onnx")(np.zeros((50, 60, 3), np.uint8), [])
    assert keypoints.shape == (0, 17, 2) and scores.shape == (0, 17)


def test_an_image_that_numpy_has_turned_is_the_same_image(folder: Path) -> None:
    """BGR to RGB by slicing gives an array that lies backwards in memory."""
    predict = pose_fusion.PoseFusion("student.onnx", "cpu")
    box = [truth()[0]["bbox"]]
    bgr = cv2.imread("pictures/00.png")
    assert np.array_equal(predict(bgr[:, :, ::-1], box)[0], predict(pose_fusion.read_image("pictures/00.png"), box)[0])


@pytest.mark.parametrize(
    ("image", "boxes", "message"),
    [
        (np.zeros((50, 60, 3)), [[1, 1, 5, 5]], r"found float64 \[50, 60, 3\]"),
        (np.zeros((3, 50, 60), np.uint8), [[1, 1, 5, 5]], r"found uint8 \[3, 50, 60\]"),
        ("one.jpg", [[1, 1, 5, 5]], "found str: `pose_fusion.read_image` gives it"),
        (np.zeros((50, 60, 3), np.uint8), [1, 1, 5, 5], r"\[people, 4\], found \[4\]"),
        (np.zeros((50, 60, 3), np.uint8), [[1, 1, 5, 5], [9, 9, 0, 4]], r"found \[9.0, 9.0, 0.0, 4.0\] in row 1"),
        (np.zeros((50, 60, 3), np.uint8), [[70, 1, 5, 5]], "inside the 60 x 50 image"),
        (np.zeros((50, 60, 3), np.uint8), [[1, 1, np.nan, 5]], "in row 0"),
        (np.zeros((50, 60, 3), np.uint8), "boxes", "expected numbers"),
    ],
)
def test_what_is_no_image_or_no_box_is_refused(folder: Path, image: Any, boxes: Any, message: str) -> None:
    with pytest.raises(pose_fusion.UserError, match=message):
        pose_fusion.PoseFusion("student.onnx")(image, boxes)


def test_an_exported_student_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys, numpy, pose_fusion\n"
        "pose_fusion.PoseFusion('student.onnx')(numpy.zeros((99, 99, 3), 'uint8'), [[1, 2, 30, 40]])\n"
        "print([name for name in ('torch', 'zarr', 'dask', 'dvc', 'pyarrow', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.strip() == "[]"
