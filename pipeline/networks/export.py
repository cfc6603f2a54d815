"""Torch networks to ONNX files that are teachers at once: weights inside, any batch, the spec in the file's own metadata."""

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

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.networks.run import as_tuple
from pipeline.spec import METADATA_KEY, Kind, NetworkSpec, spec_values

OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "heatmap": ("heatmaps",),
    "heatmap_logits": ("heatmaps",),
    "simcc": ("simcc_x", "simcc_y"),
}
"""Names of the file's outputs, unless the spec gives others."""

BATCHES = (1, 2, 7)
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch, relative to the largest value of the output, at each of BATCHES."""


def export_onnx(
    network: nn.Module, spec: NetworkSpec, path: Path, crops: np.ndarray, tolerance: float = TOLERANCE
) -> float:
    """Write the network, checked against torch on `crops` (uint8 (N, H, W, 3), N >= 1), and give the largest relative difference.

    Input `crops` float32 (batch, 3, H, W); outputs `heatmaps` (batch, K, h, w), or `simcc_x` (batch, K, Wx) and `simcc_y`
    (batch, K, Hy). The network may be in any mode and on any device, and stays so. UserError, and no file, beyond `tolerance`.
    """
    network = copy.deepcopy(network).to("cpu").eval()
    inputs = torch.from_numpy(spec.normalised(crops[np.arange(max(BATCHES)) % len(crops)]))
    model = _translate(network, spec, inputs[:2]).SerializeToString()
    difference = compare(network, model, inputs)
    if not difference <= tolerance:  # NaN is beyond it
        raise UserError(
            f"{path}: expected ONNX Runtime within {tolerance} of torch, found {difference:.1e}: nothing was written"
        )
    write_atomically(path, model)
    return difference


def compare(network: nn.Module, model: bytes, inputs: torch.Tensor) -> float:
    """Largest difference of the ONNX model's outputs from the network's over the output's largest value; NaN if there is one."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    differences = []
    for batch in BATCHES:
        part = inputs[:batch]
        with torch.inference_mode():
            ours = [output.numpy() for output in as_tuple(network(part))]
        theirs = session.run(None, {session.get_inputs()[0].name: part.numpy()})
        differences += [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(ours, theirs, strict=True)]
    return float(np.max(differences))


def _translate(network: nn.Module, spec: NetworkSpec, example: torch.Tensor) -> onnx.ModelProto:
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["crops"],
            output_names=list(spec.outputs or OUTPUTS[spec.kind]),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
    ):
        del part.metadata_props[
            :
        ]  # stack traces, with the paths of this machine: the file's hash would follow from them
    del model.graph.metadata_props[:]
    for key, value in (("keypoints", list(spec.skeleton.keypoints)), ("spec", spec_values(spec))):
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY + key, json.dumps(value)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
