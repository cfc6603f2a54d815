"""Exports torch networks to ONNX files of any batch size, with the spec in the file's metadata, so that each can serve as a teacher."""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.export.compatibility import lower_ir_version
from pipeline.networks.run import as_tuple
from pipeline.pose.options import Kind
from pipeline.pose.spec import METADATA_KEY, NetworkSpec, spec_values

OUTPUT_NAMES: dict[Kind, tuple[str, ...]] = {
    "heatmap": ("heatmaps",),
    "heatmap_logits": ("heatmaps",),
    "simcc": ("simcc_x", "simcc_y"),
}
"""Names of the file's outputs by kind, unless the spec gives others."""

TESTED_BATCHES = (1, 2, 7)
"""Batch sizes at which an exported file is compared with torch."""

ONNX_TOLERANCE = 1e-4
"""Largest accepted difference between ONNX Runtime and torch, relative to the largest value of the output."""


def export_onnx(
    network: nn.Module, spec: NetworkSpec, path: Path, crops: np.ndarray, tolerance: float = ONNX_TOLERANCE
) -> float:
    """Write the network to an ONNX file, compare the file with torch, and return the largest relative difference.

    They are compared on RGB `crops`, uint8 (N, H, W, 3), N >= 1. The file's input is `crops`, float32 (batch, 3, H, W); its outputs
    are `heatmaps` (batch, K, h, w), or `simcc_x` (batch, K, Wx) and `simcc_y` (batch, K, Hy). The network may be in any mode and on
    any device, and is left as it is. UserError, and no file, where the difference exceeds `tolerance`.
    """
    network = copy.deepcopy(network).to("cpu").eval()
    inputs = torch.from_numpy(spec.normalised(crops[np.arange(max(TESTED_BATCHES)) % len(crops)]))
    model = _onnx_model(network, spec, inputs[:2]).SerializeToString()
    difference = largest_difference(network, model, inputs)
    if not difference <= tolerance:  # true for NaN as well
        raise UserError(
            f"{path}: expected ONNX Runtime within {tolerance} of torch, found {difference:.1e}: nothing was written"
        )
    write_atomically(path, model)
    return difference


def largest_difference(network: nn.Module, model: bytes, inputs: torch.Tensor) -> float:
    """Return the largest difference of the ONNX model's outputs from the network's, relative to the largest value of the output.

    It is NaN where an output holds NaN. `inputs` are float32 (N, 3, H, W), with N at least the largest of TESTED_BATCHES.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    differences = []
    for batch in TESTED_BATCHES:
        crops = inputs[:batch]
        with torch.inference_mode():
            by_torch = [output.numpy() for output in as_tuple(network(crops))]
        by_onnx = session.run(None, {session.get_inputs()[0].name: crops.numpy()})
        differences += [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(by_torch, by_onnx, strict=True)]
    return float(np.max(differences))


def _onnx_model(network: nn.Module, spec: NetworkSpec, example: torch.Tensor) -> onnx.ModelProto:
    with _warnings_off():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["crops"],
            output_names=list(spec.outputs or OUTPUT_NAMES[spec.kind]),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    # Their metadata holds stack traces with the paths of this machine, on which the file's hash would depend.
    for element in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del element.metadata_props[:]
    del graph.metadata_props[:]
    for key, value in (("keypoints", list(spec.skeleton.keypoints)), ("spec", spec_values(spec))):
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY + key, json.dumps(value)
    lower_ir_version(model)
    return model


@contextlib.contextmanager
def _warnings_off() -> Iterator[None]:
    """Silence the exporter's warnings, which are about its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
