"""Torch networks to ONNX files that are teachers at once: weights inside, any batch, the spec in the file's own metadata."""

import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.spec import METADATA_KEY, NetworkSpec, spec_values

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch, relative to the largest output."""


def export_onnx(network: nn.Module, spec: NetworkSpec, path: Path, crops: np.ndarray) -> float:
    """Write the network, check it on `crops` (uint8 (N, H, W, 3), N >= 2) against torch, and give the largest relative difference.

    Input `crops` float32 (batch, 3, H, W), output `heatmaps` (batch, K, h, w). UserError, and no file, beyond TOLERANCE.
    """
    network = network.eval().to("cpu")
    inputs = torch.from_numpy(spec.normalised(crops))
    aside = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (inputs[:2],),
            dynamo=True,
            input_names=["crops"],
            output_names=["heatmaps"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in (("keypoints", list(spec.skeleton.keypoints)), ("spec", spec_values(spec))):
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY + key, json.dumps(value)
    onnx.save(model, aside)
    try:
        difference = compare(network, aside, inputs)
    except Exception:
        aside.unlink(missing_ok=True)
        raise
    if difference > TOLERANCE:
        aside.unlink()
        raise UserError(
            f"{path}: expected ONNX Runtime within {TOLERANCE} of torch, found {difference:.1e}: nothing was written"
        )
    os.replace(aside, path)
    return difference


def compare(network: nn.Module, path: Path, inputs: torch.Tensor) -> float:
    """Largest difference of the file's outputs from the network's over the largest output, alone and as a batch."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    with torch.inference_mode():
        for part in (inputs, inputs[:1]):
            ours = network(part).numpy()
            theirs = session.run(None, {session.get_inputs()[0].name: part.numpy()})[0]
            worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(ours).max()))
    return worst
