"""A teacher that is right by construction, and its dataset: keypoints are discs of their own colours, which the network looks for."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.pose.skeletons import COCO17
from tests.fixtures import annotation, params

INPUT_WH = (96, 128)
PICTURE_WH = (120, 160)
MEAN, STD = (110.0, 120.0, 130.0), (50.0, 60.0, 70.0)
COLORS = np.random.default_rng(1).permutation(
    [(r, g, b) for r in (40, 110, 180, 250) for g in (30, 140, 250) for b in (20, 130, 240) if r != b]
)[:17]
"""RGB of COCO's keypoints, at least 69 apart; none is grey, and exchanging red and blue makes none of them another's."""


def colour_params(**changes: Any) -> dict[str, Any]:
    """The tiny project's parameters with this teacher's spec."""
    spec = {"input": [INPUT_WH[1], INPUT_WH[0]], "mean": list(MEAN), "std": list(STD), "affine": "classic"}
    changed = {f"teachers__tiny__{key}": value for key, value in spec.items()}
    return params(**{**changed, "prepare__validation": 0.0, "teach__check": 200, **changes})


def make_colour_dataset(folder: Path, pictures: int, people: int = 1) -> None:
    """annotations/train.json, pictures/ and tiny.onnx; every picture has so many people side by side."""
    random = np.random.default_rng(5)
    width, height = PICTURE_WH[0] * people, PICTURE_WH[1]
    annotations, images = [], []
    for n in range(pictures):
        picture = np.full((height, width, 3), 128, np.uint8)
        images.append({"id": n, "file_name": f"{n:02d}.png", "width": width, "height": height})
        for m in range(people):
            cells = random.permutation(30)[:17]
            at = np.stack([15 + 20 * (cells % 5) + m * PICTURE_WH[0], 15 + 25 * (cells // 5)], axis=1)
            for (x, y), color in zip(at.tolist(), COLORS, strict=True):
                cv2.circle(picture, (x, y), 6, color[::-1].tolist(), -1)
            box = [5 + m * PICTURE_WH[0], 5, 110, 150]
            triplets = np.column_stack([at, np.full(17, 2)]).ravel().tolist()
            annotations.append(annotation(n * people + m, n, box, triplets, 0))
        assert cv2.imwrite(str(folder / "pictures" / f"{n:02d}.png"), picture)
    document = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": annotations}
    (folder / "annotations/train.json").write_text(json.dumps(document))


def save_colour_teacher(path: Path, order: np.ndarray | None = None) -> None:
    """Crops (N, 3, H, W), normalised with MEAN and STD, to maps (N, 17, H/4, W/4): exp(-(distance from the keypoint's colour / 20)^2)
    of the mean colour of two by two pixels, averaged over two by two of these. `order` exchanges the channels. The square of the
    distance is |pixel|^2 - 2 pixel . colour + |colour|^2, which takes a fifth of the time that subtracting takes."""
    colors = (COLORS if order is None else COLORS[order]).astype(np.float32)
    constants = {
        "mean": np.array(MEAN, np.float32)[:, None, None],
        "std": np.array(STD, np.float32)[:, None, None],
        "colors": -2 * colors[:, :, None, None],
        "squares": (colors**2).sum(axis=1),
        "one": np.array([1]),
        "sharp": np.array(-1 / 400, np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["crops", "std"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["single"]),
        helper.make_node("AveragePool", ["single"], ["pixels"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pixels", "colors", "squares"], ["others"]),
        helper.make_node("Mul", ["pixels", "pixels"], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "one"], ["own"], keepdims=1),
        helper.make_node("Add", ["others", "own"], ["rounded"]),
        helper.make_node("Relu", ["rounded"], ["distance"]),
        helper.make_node("Mul", ["distance", "sharp"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["near"]),
        helper.make_node("AveragePool", ["near"], ["maps"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    width, height = INPUT_WH
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", len(COCO17), height // 4, width // 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
