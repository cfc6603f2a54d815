"""Tiny ONNX files in all the forms that people's teachers come in: names, batch, number type, kind and order of outputs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Form:
    """A network of one convolution: crops to maps of a quarter of the input, and from these to two bins per pixel of x and y."""

    outputs: dict[str, str] = field(default_factory=lambda: {"maps": "maps"})
    """Names to what they are: `maps` (N, K, h / 4, w / 4), `more maps` twice as large, `x` and `more x` (N, K, 2 w),
    `y` (N, K, 2 h), `peaks` (N, K), `largest` ()."""
    inputs: tuple[str, ...] = ("crops",)
    """The first one is looked at."""
    keypoints: int = 17
    input_wh: tuple[int, int] = (24, 32)
    batch: int | str = "batch"
    bins: float = 2.0
    """Per pixel, in y; in x there are always 2."""
    number: int = TensorProto.FLOAT
    """What comes in and goes out; the arithmetic is in float32."""
    offset: float = 0.4
    """Added to the maps; NaN spoils them all."""


def model_of(form: Form) -> onnx.ModelProto:
    """The same weights each time."""
    random = np.random.default_rng(3)
    width, height = form.input_wh
    arrays = {
        "weights": random.normal(0, 0.1, (form.keypoints, 3, 4, 4)),
        "offsets": np.full(form.keypoints, form.offset),
        "to x": random.uniform(0, 1, (width // 4, 2 * width)) / (width // 4),
        "to y": random.uniform(0, 1, (height // 4, round(form.bins * height))) / (height // 4),
        "two": np.array(2.0),
    }
    nodes = [
        helper.make_node("Cast", [form.inputs[0]], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["single", "weights", "offsets"], ["made maps"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    made = {
        "more maps": [helper.make_node("Mul", ["made maps", "two"], ["made more maps"])],
        "more x": [helper.make_node("Mul", ["made x", "two"], ["made more x"])],
        "x": [
            helper.make_node("ReduceMax", ["made maps"], ["columns"], axes=[2], keepdims=0),
            helper.make_node("MatMul", ["columns", "to x"], ["made x"]),
        ],
        "y": [
            helper.make_node("ReduceMax", ["made maps"], ["rows"], axes=[3], keepdims=0),
            helper.make_node("MatMul", ["rows", "to y"], ["made y"]),
        ],
        "peaks": [helper.make_node("ReduceMax", ["made maps"], ["made peaks"], axes=[2, 3], keepdims=0)],
        "largest": [helper.make_node("ReduceMax", ["made maps"], ["made largest"], keepdims=0)],
    }
    for name, what in form.outputs.items():
        nodes += made.get(what, [])
        nodes.append(helper.make_node("Cast", [f"made {what}"], [name], to=form.number))
    size = [form.batch, 3, height, width]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, form.number, size) for name in form.inputs],
        [helper.make_tensor_value_info(name, form.number, None) for name in form.outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(path: Path, form: Form, metadata: dict[str, str] | None = None) -> Path:
    """The file's own path."""
    model = model_of(form)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def by_hand(form: Form, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every output for normalised inputs float32 (N, 3, h, w), in NumPy."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model_of(form).graph.initializer}
    count, _, height, width = inputs.shape
    blocks = inputs.reshape(count, 3, height // 4, 4, width // 4, 4)
    maps = np.einsum("nchiwj,kcij->nkhw", blocks, arrays["weights"]) + form.offset
    made = {
        "maps": maps,
        "more maps": 2 * maps,
        "x": maps.max(axis=2) @ arrays["to x"],
        "y": maps.max(axis=3) @ arrays["to y"],
        "peaks": maps.max(axis=(2, 3)),
        "largest": maps.max(),
    }
    made["more x"] = 2 * made["x"]
    return {name: made[what] for name, what in form.outputs.items()}
