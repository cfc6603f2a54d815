"""Small detectors as ONNX files whose boxes are right by construction: they look for bright rectangles."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT_WH = (128, 96)
SIZE = 48.0
"""Width and height of every box that `save_cells` gives, in input pixels."""


def save_boxes(
    path: Path,
    threshold: float,
    labels: bool = True,
    first_channels: int = 3,
    dtype: int = TensorProto.FLOAT,
    any_size: bool = False,
) -> None:
    """`dets` (1, 2, 5) and `labels` (1, 2): where input channel 0 is above `threshold`, and everything, labelled 1.

    The first box runs from the first bright column and row to behind the last ones; its score is a hundredth of the largest
    value in channel 0. A convolution of no effect takes the input as `first_channels` channels.
    """
    width, height = INPUT_WH
    constants = {
        "threshold": np.array(threshold, np.float32),
        "one": np.array([[1.0]], np.float32),
        "hundredth": np.array(0.01, np.float32),
        "everything": np.array([[[0, 0, width, height, 0.9]]], np.float32),
        "classes": np.array([[0, 1]], np.int64),
        "filters": np.zeros((1, first_channels, 1, 1), np.float32),
        "zero": np.array([0]),
        "single": np.array([1]),
        "last": np.array([3]),
        "batch": np.array([1, 1, 1]),
        "none": np.array([1, 1]),
    }
    deep = first_channels == 12
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        *([helper.make_node("SpaceToDepth", ["values"], ["deep"], blocksize=2)] if deep else []),
        helper.make_node("Conv", ["deep" if deep else "values", "filters"], ["convolved"]),
        helper.make_node("ReduceMax", ["convolved"], ["nothing"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Slice", ["values", "zero", "single", "single"], ["blue"]),
        helper.make_node("ReduceMax", ["blue"], ["largest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["largest", "nothing"], ["sum"]),
        helper.make_node("Mul", ["sum", "hundredth"], ["score"]),
        helper.make_node("Reshape", ["score", "none"], ["scores"]),
    ]
    for axis, other, first, behind in (("x", 2, "x1", "x2"), ("y", 3, "y1", "y2")):
        nodes += [
            helper.make_node("ReduceMax", ["blue"], [f"most_{axis}"], axes=[1, other], keepdims=0),
            helper.make_node("Greater", [f"most_{axis}", "threshold"], [f"is_{axis}"]),
            helper.make_node("Cast", [f"is_{axis}"], [f"bright_{axis}"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", [f"bright_{axis}"], [f"first_{axis}"], axis=1),
            helper.make_node("ArgMax", [f"bright_{axis}"], [f"last_{axis}"], axis=1, select_last_index=1),
            helper.make_node("Cast", [f"first_{axis}"], [first], to=TensorProto.FLOAT),
            helper.make_node("Cast", [f"last_{axis}"], [f"float_{axis}"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"float_{axis}", "one"], [behind]),
        ]
    nodes += [
        helper.make_node("Concat", ["x1", "y1", "x2", "y2", "scores"], ["row"], axis=1),
        helper.make_node("Unsqueeze", ["row", "zero"], ["rows"]),
        helper.make_node("Concat", ["rows", "everything"], ["dets"], axis=1),
        helper.make_node("Identity", ["classes"], ["labels"]),
    ]
    outputs = [helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, "boxes", 5])]
    if labels:
        outputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, [1, "boxes"]))
    shape = [1, 3, "height", "width"] if any_size else [1, 3, height, width]
    _save(path, nodes, helper.make_tensor_value_info("image", dtype, shape), outputs, constants)


def save_cells(path: Path, decoded: bool = False, classes: int = 2) -> None:
    """YOLOX's output (1, cells, 5 + classes): every cell has a box of SIZE around its own middle.

    Its objectness is the mean of input channel 2 over the cell / 255, times 0.6, 0.8 and 1 at strides 8, 16 and 32; the
    class of people has 0.5, the others 1. `decoded`: boxes in pixels instead of relative to cells and strides.
    """
    width, height = INPUT_WH
    constants: dict[str, np.ndarray] = {
        "two": np.array([2]),
        "three": np.array([3]),
        "channel": np.array([1]),
        "column": np.array([1, -1, 1]),
    }
    nodes = [helper.make_node("Slice", ["image", "two", "three", "channel"], ["red"])]
    objectness, boxes = [], []
    for stride, share in ((8, 0.6), (16, 0.8), (32, 1.0)):
        rows, columns = np.mgrid[: height // stride, : width // stride]
        constants[f"share{stride}"] = np.array(share / 255, np.float32)
        nodes += [
            helper.make_node(
                "AveragePool", ["red"], [f"mean{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Mul", [f"mean{stride}", f"share{stride}"], [f"map{stride}"]),
            helper.make_node("Reshape", [f"map{stride}", "column"], [f"objectness{stride}"]),
        ]
        objectness.append(f"objectness{stride}")
        for row, column in zip(rows.ravel(), columns.ravel(), strict=True):
            middle = [(column + 0.5) * stride, (row + 0.5) * stride, SIZE, SIZE]
            relative = [0.5, 0.5, np.log(SIZE / stride), np.log(SIZE / stride)]
            boxes.append([*(middle if decoded else relative), 0.5, *[1.0] * (classes - 1)])
    constants["boxes"] = np.array([box[:4] for box in boxes], np.float32)[None]
    constants["classes"] = np.array([box[4:] for box in boxes], np.float32)[None]
    nodes += [
        helper.make_node("Concat", objectness, ["objectness"], axis=1),
        helper.make_node("Concat", ["boxes", "objectness", "classes"], ["output"], axis=2),
    ]
    found = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(boxes), 5 + classes])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])
    _save(path, nodes, image, [found], constants)


def _save(path: Path, nodes: list, image: object, outputs: list, constants: dict[str, np.ndarray]) -> None:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", [image], outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
