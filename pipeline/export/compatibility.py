"""Which runtimes open an ONNX file: its IR version, which is made the lowest that its operators allow, and the oldest ONNX Runtime."""

import onnx
import onnxruntime as ort

OLDEST_RUNTIME = {18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18"}
"""The oldest ONNX Runtime by the version of ONNX's operators (its documentation; 1.15 to 1.18 were tried with our files)."""


def lower_ir_version(model: onnx.ModelProto) -> None:
    """Set the IR version to the lowest that the model's operators allow: runtimes refuse a file for a higher one alone.

    Families of operators that no node is of, which ONNX Runtime's quantiser lists, are no longer listed.
    """
    used = {"", *(node.domain for node in model.graph.node)}
    for entry in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(entry)
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)


def oldest_runtime(model: onnx.ModelProto) -> str:
    """Return the version of the oldest ONNX Runtime that opens a model of `lower_ir_version`; where it is not known, of the one here."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return OLDEST_RUNTIME.get(opset, ort.__version__)
