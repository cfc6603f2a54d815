"""Person boxes from a detector: an RTMDet or YOLOX ONNX file in the forms that MMDeploy, YOLOX and rtmlib use. No poses."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx

from pipeline.common.errors import UserError, one_line
from pipeline.detection.boxes import NO_BOXES, Boxes
from pipeline.inference.devices import OpenSession, open_session
from pipeline.inference.session import FLOAT_TYPES
from pipeline.pose.options import Device

DetectorKind = Literal["rtmdet", "yolox"]
OutputForm = Literal["boxes", "grid", "pixels"]
"""The form of a file's outputs, found by running it once.

`boxes`: x1, y1, x2, y2, score (1, N, 5) in input pixels after suppression, and perhaps labels (1, N).
`grid`: YOLOX's own output (1, cells, 5 + classes): centre and log size relative to the cell and its stride, objectness, classes.
`pixels`: the same, exported with `decode_in_inference`: centre and size in input pixels.
"""

STATISTICS: dict[DetectorKind, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "rtmdet": ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
    "yolox": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and std of blue, green and red, the order both families take, on the 0-255 scale (MMDetection's configurations)."""

STRIDES = (8, 16, 32)
PAD_VALUE = 114
"""Grey level that fills the input beside the image, for both families."""
DEFAULT_SIDE = 640
"""Input width and height for a file that accepts any."""
NMS_IOU = 0.45
"""Of two boxes with a larger IoU the one with the lower score is dropped (YOLOX's demo; rtmlib's default)."""
PERSON_LABEL = 0
"""Class of people in both families where nothing else is said: COCO's first."""
SPACE_TO_DEPTH = 12
"""Input channels of YOLOX's first convolution: 3 colours of 2 x 2 pixels."""
DETECTOR_REMEDY = "take an RTMDet or YOLOX ONNX file as MMDeploy, YOLOX or rtmlib give it, or give `--boxes`"


@dataclass(frozen=True)
class Detector:
    """A detector that is ready to run."""

    path: Path
    kind: DetectorKind
    form: OutputForm
    input_wh: tuple[int, int]
    runtime: OpenSession
    person: int = PERSON_LABEL
    """Its label of people."""


@dataclass(frozen=True)
class Found:
    """What a detector found in an image."""

    people: Boxes
    others: Counter[int]
    """How many boxes have each other label; counted only where nobody was found."""


def open_detector(
    path: Path, device: Device = "auto", kind: DetectorKind | Literal["auto"] = "auto", person: int | None = None
) -> Detector:
    """Open the file and run it once on a grey image to find the form of its outputs; UserError where it is no detector.

    `person` is its label of people, PERSON_LABEL if None; UserError where it has no such label. A file does not state its input
    statistics. `auto` takes YOLOX's for YOLOX's own output form, and for a network whose first convolution reads 2 x 2 pixels
    at once, as every YOLOX does; otherwise RTMDet's.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: name a detector's ONNX file, fetch one with `pipeline detector fetch`, or give `--boxes`"
        )
    try:
        runtime = open_session(path, device)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: ONNX Runtime cannot open it: {one_line(error)}: {DETECTOR_REMEDY}") from error
    inputs = runtime.session.get_inputs()
    found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in FLOAT_TYPES:
        raise UserError(f"{path}: expected one float input [1, 3, height, width], found {found}: {DETECTOR_REMEDY}")
    batch, channels, height, width = (s if isinstance(s, int) else None for s in inputs[0].shape)
    if batch not in (1, None) or channels not in (3, None):
        raise UserError(f"{path}: expected one float input [1, 3, height, width], found {found}: {DETECTOR_REMEDY}")
    wh = (width or DEFAULT_SIDE, height or DEFAULT_SIDE)
    try:
        raw = _run(runtime, np.full((wh[1], wh[0], 3), PAD_VALUE, np.float32))
    except Exception as error:
        raise UserError(
            f"{path}: fails on a grey image of {wh[0]} x {wh[1]}: {one_line(error)}: {DETECTOR_REMEDY}"
        ) from error
    form = _form(path, raw, wh)
    if kind == "auto":
        kind = "yolox" if form != "boxes" or _first_convolution(path) == SPACE_TO_DEPTH else "rtmdet"
    if person is not None:
        _refuse_label(path, raw, form, person)
    return Detector(path, kind, form, wh, runtime, PERSON_LABEL if person is None else person)


def detect(detector: Detector, image: np.ndarray, min_score: float) -> Found:
    """Return the boxes of people in an RGB image (H, W, 3), cut at its border, best first; scores are at least `min_score`."""
    canvas, scale = letterbox(image, detector.input_wh)
    mean, std = (np.array(values, np.float32) for values in STATISTICS[detector.kind])
    raw = _run(detector.runtime, (canvas[:, :, ::-1].astype(np.float32) - mean) / std)
    if detector.form == "boxes":
        corners, score, label = _suppressed(raw)
        of_person = score
    else:
        corners, by_class = _cells(_predictions(raw), detector.input_wh, detector.form)
        of_person, score, label = by_class[:, detector.person], by_class.max(axis=1), by_class.argmax(axis=1)
    height, width = image.shape[:2]
    corners = np.clip(corners / np.tile(scale, 2), 0, [width, height, width, height])
    xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    valid = np.isfinite(xywh).all(axis=1) & (xywh[:, 2:] > 0).all(axis=1)
    kept = valid & (of_person >= min_score)
    if detector.form == "boxes" and label is not None:
        kept &= label == detector.person
    rows = _best_first(detector.form, xywh, of_person, np.flatnonzero(kept), min_score)
    if len(rows) or label is None:
        return Found(Boxes(xywh[rows], of_person[rows]), Counter())
    rows = _best_first(detector.form, xywh, score, np.flatnonzero(valid & (score >= min_score)), min_score)
    return Found(NO_BOXES, Counter(label[rows].astype(int).tolist()))


def letterbox(image: np.ndarray, wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a canvas, uint8 (h, w, 3), with the image in its upper left corner as large as fits, and the scale (2,) in x and y."""
    height, width = image.shape[:2]
    ratio = min(wh[0] / width, wh[1] / height)
    size = (max(1, int(width * ratio)), max(1, int(height * ratio)))
    canvas = np.full((wh[1], wh[0], 3), PAD_VALUE, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return canvas, np.array([size[0] / width, size[1] / height])


def _run(runtime: OpenSession, pixels: np.ndarray) -> list[np.ndarray]:
    """Return all outputs for one input (H, W, 3)."""
    first = runtime.session.get_inputs()[0]
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], FLOAT_TYPES[first.type])
    return [np.asarray(array) for array in runtime.session.run(None, {first.name: values})]


def _form(path: Path, raw: list[np.ndarray], wh: tuple[int, int]) -> OutputForm:
    if any(_is_boxes(array) for array in raw):
        return "boxes"
    cells = len(_grid(wh)[0])
    if any(array.ndim == 3 and array.shape[:2] == (1, cells) and array.shape[2] > 5 for array in raw):
        # Over all cells the decoded centres average to the middle of the input, the raw ones to a fraction of a cell.
        centre = _predictions(raw)[:, :2].mean(axis=0)
        return "pixels" if (centre > np.array(wh) / 4).all() else "grid"
    shapes = ", ".join(str(list(array.shape)) for array in raw)
    raise UserError(
        f"{path}: expected boxes with scores [1, N, 5], or YOLOX's output [1, {cells}, 5 + classes], found {shapes}: {DETECTOR_REMEDY}"
    )


def _is_boxes(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.shape[0] == 1 and array.shape[2] == 5


def _best_first(
    form: OutputForm, xywh: np.ndarray, score: np.ndarray, rows: np.ndarray, min_score: float
) -> np.ndarray:
    """Return those of `rows` that remain after suppression, which files of the form `boxes` have done, the best score first."""
    if form == "boxes" or not len(rows):
        return rows[np.argsort(-score[rows], kind="stable")]
    kept = cv2.dnn.NMSBoxes(xywh[rows].tolist(), score[rows].tolist(), min_score, NMS_IOU)
    return rows[np.array(kept, int).ravel()]


def _suppressed(raw: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return corners (N, 4), scores (N,) and labels (N,); where the file gives no labels, None, and all boxes are people."""
    boxes = next(array for array in raw if _is_boxes(array))[0].astype(np.float64)
    labels = next((array[0] for array in raw if array.shape == (1, len(boxes))), None)
    return boxes[:, :4], boxes[:, 4], labels


def _refuse_label(path: Path, raw: list[np.ndarray], form: OutputForm, person: int) -> None:
    """Raise UserError where the file cannot give that label of people."""
    if form == "boxes":
        if _suppressed(raw)[2] is None:
            raise UserError(f"{path}: gives no labels, all its boxes are people: leave out `--person-label {person}`")
        return
    classes = _predictions(raw).shape[1] - 5
    if person >= classes:
        raise UserError(
            f"{path}: expected a `--person-label` from 0 to {classes - 1}, as it has {classes} classes, found {person}"
        )


def _predictions(raw: list[np.ndarray]) -> np.ndarray:
    """Return YOLOX's own output, float64 (cells, 5 + classes)."""
    return next(array for array in raw if array.ndim == 3 and array.shape[2] > 5)[0].astype(np.float64)


def _cells(predictions: np.ndarray, wh: tuple[int, int], form: OutputForm) -> tuple[np.ndarray, np.ndarray]:
    """Return corners (cells, 4) and scores (cells, classes): objectness times class (Ge et al. 2021, YOLOX)."""
    centre, size = predictions[:, :2], predictions[:, 2:4]
    if form == "grid":
        corner, stride = _grid(wh)
        centre = (centre + corner) * stride
        size = np.exp(np.minimum(size, 20)) * stride
    score = predictions[:, 4:5] * predictions[:, 5:]
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1), score


def _grid(wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row (cells, 2) of every cell, row by row and stride by stride, and the strides (cells, 1)."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: wh[1] // stride, : wh[0] // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners), np.concatenate(strides)


def _first_convolution(path: Path) -> int | None:
    """Return the input channels of the file's first convolution, or None where its weights are not in the file."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            return int(weights[node.input[1]].dims[1])
    return None
