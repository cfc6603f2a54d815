"""Quantises exported networks to int8, calibrated on crops. Input, outputs and metadata stay as they are.

Conversion to float16 is in pipeline.inference.onnx_file.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.export.compatibility import lower_ir_version
from pipeline.pose.spec import NetworkSpec

CALIBRATION_BATCH = 8
"""Number of crops per forward pass of the calibration."""


def quantise_int8(path: Path, spec: NetworkSpec, crops: np.ndarray) -> bytes:
    """Return the bytes of the ONNX file at `path` with int8 weights (a scale per channel) and uint8 activations.

    The ranges of the activations are those on RGB `crops`, uint8 (N, H, W, 3). The last convolution and the layers behind it, which
    are the whole head of an RTMPose, stay float32: with eight bits for the range of all logits, or of all scores of the bins, the
    neighbours of a peak would equal it.
    """
    with tempfile.TemporaryDirectory() as folder, _warnings_off():
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        last = max(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
        quantize_static(
            str(prepared),
            str(quantised),
            _CalibrationCrops(spec.normalised(crops), model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[node.name for node in model.graph.node[last:]],
        )
        model = onnx.load(quantised)
        lower_ir_version(model)
        return bytes(model.SerializeToString())


class _CalibrationCrops(CalibrationDataReader):
    def __init__(self, inputs: np.ndarray, name: str) -> None:
        self.batches: Iterator[np.ndarray] = iter(np.array_split(inputs, -(-len(inputs) // CALIBRATION_BATCH)))
        self.name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Silence the quantiser's advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
