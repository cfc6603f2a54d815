"""Detectors in each of the forms that are in use, on images whose boxes are known by construction."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from pipeline.common.errors import UserError
from pipeline.detection.boxes import Boxes
from pipeline.detection.detectors import PAD_VALUE, Detector, letterbox, open_detector
from pipeline.detection.detectors import detect as detect_everything
from tests.fixtures import save_teacher
from tests.pipeline.detection.detectors import INPUT_WH, SIZE, save_boxes, save_cells

BLUE = 200
"""RTMDet is fed (200 - 103.53) / 57.375 = 1.681395, YOLOX 200; a hundredth of it is the score."""


def detect(detector: Detector, image: np.ndarray, min_score: float) -> Boxes:
    return detect_everything(detector, image, min_score).people


def image_of(width: int, height: int, *rectangles: tuple[int, int, int, int], channel: int = 2, value: int = BLUE):
    """Black RGB with rectangles (x, y, w, h) in one channel; 2 is blue, the first that both families see."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, w, h in rectangles:
        image[y : y + h, x : x + w, channel] = value
    return image


@pytest.mark.parametrize(
    ("first_channels", "threshold", "kind", "score"), [(3, 1.0, "rtmdet", 0.01681395), (12, 150.0, "yolox", 2.0)]
)
def test_boxes_after_suppression(
    tmp_path: Path, first_channels: int, threshold: float, kind: str, score: float
) -> None:
    """Statistics, colour order and letterbox are right: else the rectangle is not found, or with another score."""
    save_boxes(tmp_path / "a.onnx", threshold, first_channels=first_channels)
    detector = open_detector(tmp_path / "a.onnx", "cpu")
    assert (detector.kind, detector.form, detector.input_wh) == (kind, "boxes", INPUT_WH)
    found = detect(detector, image_of(128, 96, (40, 16, 30, 50)), 0.0)
    assert np.allclose(found.xywh, [[40, 16, 30, 50]], atol=1e-9)
    assert found.score == pytest.approx([score], rel=1e-6)  # float32


def test_the_kind_can_be_told(tmp_path: Path) -> None:
    save_boxes(tmp_path / "a.onnx", 150.0)
    assert len(detect(open_detector(tmp_path / "a.onnx", "cpu", "yolox"), image_of(128, 96, (40, 16, 30, 50)), 0.5))
    rtmdet = detect(open_detector(tmp_path / "a.onnx", "cpu", "rtmdet"), image_of(128, 96, (40, 16, 30, 50)), 0.5)
    assert len(rtmdet) == 0


def test_boxes_come_back_to_a_larger_image(tmp_path: Path) -> None:
    """500 x 250 is shown as 128 x 64, and the rectangle's edges lie on whole input pixels: within half of one of 3.9."""
    save_boxes(tmp_path / "a.onnx", 0.5)
    detector = open_detector(tmp_path / "a.onnx", "cpu")
    found = detect(detector, image_of(500, 250, (125, 50, 250, 125), value=255), 0.0)
    assert np.abs(found.xywh - [125, 50, 250, 125]).max() <= 500 / 128


def test_other_classes_and_low_scores_are_left_out(tmp_path: Path) -> None:
    image = image_of(128, 96, (40, 16, 30, 50))
    save_boxes(tmp_path / "all.onnx", 1.0, labels=False)
    everything = detect(open_detector(tmp_path / "all.onnx", "cpu"), image, 0.0)
    assert np.allclose(everything.xywh, [[0, 0, 128, 96], [40, 16, 30, 50]], atol=1e-9)  # 0.9 before 0.017
    save_boxes(tmp_path / "people.onnx", 1.0)
    assert len(detect(open_detector(tmp_path / "people.onnx", "cpu"), image, 0.02)) == 0


def test_people_may_have_another_label(tmp_path: Path) -> None:
    """`everything` is labelled 1, at 0.9; the rectangle 0, at 0.017. Where nobody is found, the others are counted."""
    image = image_of(128, 96, (40, 16, 30, 50))
    save_boxes(tmp_path / "a.onnx", 1.0)
    found = detect_everything(open_detector(tmp_path / "a.onnx", "cpu", person=1), image, 0.0)
    assert np.allclose(found.people.xywh, [[0, 0, 128, 96]]) and not found.others
    for person, others in ((None, {1: 1}), (7, {1: 1})):
        found = detect_everything(open_detector(tmp_path / "a.onnx", "cpu", person=person), image, 0.1)
        assert len(found.people) == 0 and found.others == others
    save_cells(tmp_path / "cells.onnx", classes=3)  # people have 0.5 of the objectness, the others all of it
    image = image_of(128, 96, (32, 32, 32, 32), channel=0, value=255)
    second = detect_everything(open_detector(tmp_path / "cells.onnx", "cpu", person=2), image, 0.9)
    assert second.people.score.tolist() == pytest.approx([1.0]) and not second.others
    assert detect_everything(open_detector(tmp_path / "cells.onnx", "cpu"), image, 0.9).others == {1: 1}
    with pytest.raises(UserError, match="expected a `--person-label` from 0 to 2, as it has 3 classes, found 3"):
        open_detector(tmp_path / "cells.onnx", "cpu", person=3)
    save_boxes(tmp_path / "bare.onnx", 1.0, labels=False)
    with pytest.raises(UserError, match="gives no labels, all its boxes are people: leave out `--person-label 1`"):
        open_detector(tmp_path / "bare.onnx", "cpu", person=1)


def test_boxes_are_cut_at_the_image(tmp_path: Path) -> None:
    """64 x 96 fills the left half of the input; the box `everything` is 128 wide."""
    save_boxes(tmp_path / "a.onnx", 1.0, labels=False)
    found = detect(open_detector(tmp_path / "a.onnx", "cpu"), image_of(64, 96), 0.5)
    assert np.allclose(found.xywh, [[0, 0, 64, 96]])


@pytest.mark.parametrize("decoded", [False, True], ids=["grid", "pixels"])
@pytest.mark.parametrize("classes", [1, 80])
def test_cells_are_decoded_and_suppressed(tmp_path: Path, decoded: bool, classes: int) -> None:
    """Two red squares that are cells of stride 32: their scores are objectness 1 times 0.5, smaller cells' 0.4 at most."""
    save_cells(tmp_path / "a.onnx", decoded, classes)
    detector = open_detector(tmp_path / "a.onnx", "cpu")
    assert (detector.kind, detector.form) == ("yolox", "pixels" if decoded else "grid")
    image = image_of(128, 96, (32, 32, 32, 32), (96, 0, 32, 32), channel=0, value=255)
    found = detect(detector, image, 0.45)
    first = [48 - SIZE / 2, 48 - SIZE / 2, SIZE, SIZE]
    second = [112 - SIZE / 2, 0, 128 - (112 - SIZE / 2), 16 + SIZE / 2]  # cut at the image's corner
    order = np.argsort(found.xywh[:, 0])
    assert np.allclose(found.xywh[order], [first, second], atol=1e-4)  # exp and log in float32
    assert found.score == pytest.approx([0.5, 0.5])


def test_overlapping_boxes_give_way_to_the_best(tmp_path: Path) -> None:
    """Cells of stride 8, at 0.3; larger cells are a quarter bright at most: 0.4 / 4."""
    save_cells(tmp_path / "a.onnx")
    detector = open_detector(tmp_path / "a.onnx", "cpu")
    one_cell = detect(detector, image_of(128, 96, (40, 40, 8, 8), channel=0, value=255), 0.2)
    assert np.allclose(one_cell.xywh, [[20, 20, SIZE, SIZE]], atol=1e-4)
    # Two cells 8 pixels apart overlap by 40 / 56 = 0.71 and are one; two 24 apart by 24 / 72 = 0.33 and are two.
    near = detect(detector, image_of(128, 96, (40, 40, 8, 8), (48, 40, 8, 8), channel=0, value=255), 0.2)
    far = detect(detector, image_of(128, 96, (40, 40, 8, 8), (64, 40, 8, 8), channel=0, value=255), 0.2)
    assert (len(near), len(far)) == (1, 2)


def test_a_half_precision_file_of_any_size(tmp_path: Path) -> None:
    save_boxes(tmp_path / "a.onnx", 1.0, dtype=TensorProto.FLOAT16, any_size=True)
    detector = open_detector(tmp_path / "a.onnx", "cpu")
    assert detector.input_wh == (640, 640)
    found = detect(detector, image_of(640, 320, (100, 20, 60, 80)), 0.0)
    assert np.allclose(found.xywh, [[100, 20, 60, 80]])


def test_letterbox() -> None:
    image = np.full((50, 200, 3), 7, np.uint8)
    canvas, scale = letterbox(image, (100, 80))
    assert (canvas[:25] == 7).all() and (canvas[25:] == PAD_VALUE).all()
    assert scale.tolist() == [0.5, 0.5]
    tiny, scale = letterbox(image[:1, :1], (100, 80))
    assert (tiny[:, :80] == 7).all() and (tiny[:, 80:] == PAD_VALUE).all() and scale.tolist() == [80, 80]
    thin, scale = letterbox(np.full((1, 3000, 3), 7, np.uint8), (100, 80))
    assert (thin[0] == 7).all() and (thin[1:] == PAD_VALUE).all() and scale == pytest.approx([1 / 30, 1])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "does not exist: name a detector's ONNX file"),
        ("no onnx", "ONNX Runtime cannot open it"),
        (
            "a pose network",
            "expected boxes with scores [1, N, 5], or YOLOX's output [1, 14, 5 + classes], found [1, 17, 8, 6]",
        ),
        (
            "two crops at once",
            "expected one float input [1, 3, height, width], found crops tensor(float) [2, 3, 32, 24]",
        ),
    ],
)
def test_what_is_no_detector(tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "a.onnx"
    if how == "no onnx":
        path.write_bytes(b"nothing of the kind")
    elif how == "a pose network":
        save_teacher(path)
    elif how == "two crops at once":
        save_teacher(path, batch=2)
    with pytest.raises(UserError) as error:
        open_detector(path, "cpu")
    assert message in str(error.value) and "\n" not in str(error.value) and "`--boxes`" in str(error.value)
