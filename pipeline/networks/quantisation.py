"""Exported networks in int8, calibrated on crops; input, outputs and metadata stay. float16 is pipeline.teachers.onnx_file's."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.spec import NetworkSpec

BATCH = 8


def in_int8(path: Path, spec: NetworkSpec, crops: np.ndarray) -> bytes:
    """The ONNX file with int8 weights (a scale per channel) and uint8 activations, whose ranges are those on `crops` (N, H, W, 3).

    The last convolution and what follows it, which of an RTMPose is the whole head, stay float32: eight bits over all logits, or
    over all scores of the bins, would make neighbours of the peak equal to it.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        last = max(place for place, node in enumerate(model.graph.node) if node.op_type == "Conv")
        quantize_static(
            str(prepared),
            str(written),
            _Crops(spec.normalised(crops), model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[node.name for node in model.graph.node[last:]],
        )
        return written.read_bytes()


class _Crops(CalibrationDataReader):
    def __init__(self, inputs: np.ndarray, name: str) -> None:
        self.batches: Iterator[np.ndarray] = iter(np.array_split(inputs, -(-len(inputs) // BATCH)))
        self.name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
