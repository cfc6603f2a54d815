"""A teacher that answers from memory, to measure stage one without a network. Its maps and bins look like a good network's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.drawn import TEACHERS, spec_of
from pipeline.inference import session

ANSWERS = ("simcc", "heatmap")
KEYPOINTS, CROPS, NOISE = 17, 256, 0.004
"""CROPS is the number of different crops. NOISE is that of a small real network's maps; it takes most of the stored bytes."""


@contextlib.contextmanager
def answering(params: dict[str, Any], kind: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield parameters with a teacher of that kind, and its name. Inside the context, every session answers from memory."""
    entry = params["teachers"][TEACHERS[1]]
    if kind == "heatmap":
        entry = entry | {"kind": kind, "onnx": "maps.onnx"}
        del entry["factor"]
        _save_maps(Path("maps.onnx"))
    answers = raw_answers(kind)

    def run(runtime: object, inputs: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
        if len(inputs) > CROPS:
            raise ValueError(f"expected at most {CROPS} crops, found {len(inputs)}")
        return [each[: len(inputs)] for each in answers]

    with mock.patch.object(session, "_run", run):
        yield params | {"teachers": {"answering": entry}}, "answering"


def raw_answers(kind: str) -> list[np.ndarray]:
    """Return outputs of a teacher of that kind for CROPS crops: Gaussians at different places."""
    random = np.random.default_rng(0)
    width, height = spec_of().input_wh

    def axis(count: int, sigma: float) -> np.ndarray:
        centre = random.uniform(0.1 * count, 0.9 * count, (CROPS, KEYPOINTS, 1))
        return np.exp(-0.5 * ((np.arange(count) - centre) / sigma) ** 2).astype(np.float32)

    confidence = random.uniform(0.3, 1, (CROPS, KEYPOINTS, 1)).astype(np.float32)
    if kind == "simcc":
        made = [axis(2 * width, 6) * confidence, axis(2 * height, 6) * confidence]
    else:
        made = [axis(height // 4, 2)[..., :, None] * (axis(width // 4, 2) * confidence)[..., None, :]]
    return [each + random.normal(0, NOISE, each.shape).astype(np.float32) for each in made]


def _save_maps(path: Path) -> None:
    """Save a network of one convolution with outputs of the right shape."""
    width, height = spec_of().input_wh
    weights = np.random.default_rng(0).normal(0, 0.05, (KEYPOINTS, 3, 4, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["crops", "weights"], ["maps"], kernel_shape=[4, 4], strides=[4, 4])],
        "maps",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", KEYPOINTS, height // 4, width // 4])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
