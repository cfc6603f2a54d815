"""Other people's exceptions in one line: the messages are those of ONNX Runtime 1.31.1, shortened in the middle where it says so."""

import time

import numpy as np
import pytest

from pipeline.common.errors import LONGEST_MESSAGE, one_line, printable, short_repr

SOURCE = "/onnxruntime_src/onnxruntime/core"

MESSAGES = {
    "a version": (
        f"[ONNXRuntimeError] : 1 : FAIL : Load model from ir.onnx failed:{SOURCE}/graph/model.cc:256 "
        "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, "
        "const onnxruntime::IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, "
        "const onnxruntime::ModelOptions&) Unsupported model IR version: 99, max supported IR version: 13\n",
        "Load model from ir.onnx failed: Unsupported model IR version: 99, max supported IR version: 13",
    ),
    "a shape": (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'' Status Message: "
        f"{SOURCE}/providers/cpu/tensor/reshape_helper.h:91 onnxruntime::ReshapeHelper::ReshapeHelper("
        "const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) input_shape_size == requested_shape_size "
        "was false. The input tensor cannot be reshaped to the requested shape. Input shape:{2,17,8,6}, requested shape:{7,7}\n",
        "Non-zero status code returned while running Reshape node. Name:'' Status Message: input_shape_size == "
        "requested_shape_size was false. The input tensor cannot be reshaped to the requested shape. "
        "Input shape:{2,17,8,6}, requested shape:{7,7}",
    ),
    "a bare name": (
        "[ONNXRuntimeError] : 1 : FAIL : External data path validation failed for initializer: weights. Error: "
        "tensorprotoutils.cc:461 ValidateExternalDataPathFromDir External data path does not exist: e.data",
        "External data path validation failed for initializer: weights. Error: External data path does not exist: e.data",
    ),
    "several lines": (
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: crops for the following indices\n"
        " index: 1 Got: 4 Expected: 3\n Please fix either the inputs/outputs or the model.",
        "Got invalid dimensions for input: crops for the following indices index: 1 Got: 4 Expected: 3 "
        "Please fix either the inputs/outputs or the model.",
    ),
    "a failure of CUDA (shortened)": (
        f"{SOURCE}/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, Status> onnxruntime::CudaCall(ERRTYPE, "
        "const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 35: CUDA driver version is insufficient ; "
        "GPU=-1 ; hostname=here ; file=cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id); \n\n",
        "CUDA failure 35: CUDA driver version is insufficient",
    ),
    "Windows (made up)": (
        r"failed:D:\a\_work\1\s\onnxruntime\core\graph\model.cc:180 onnxruntime::Model::Model Unknown version",
        "failed: Unknown version",
    ),
    "a function of a function": (
        "/src/a.h:3 int a::b(int (*)(int), char) const says no",
        "says no",
    ),
    "nobody's place": ("could not open model.onnx:3 (a::b) at 12:30", "could not open model.onnx:3 (a::b) at 12:30"),
}


@pytest.mark.parametrize(("message", "line"), MESSAGES.values(), ids=MESSAGES)
def test_the_reason_without_its_wrapping(message, line):
    assert one_line(RuntimeError(message)) == line


def test_an_error_that_says_nothing_is_its_type():
    assert one_line(ValueError()) == one_line(ValueError(" \n")) == "ValueError"


def test_a_long_message_keeps_both_ends():
    line = one_line(ValueError("begin " + "x" * 1000 + " end"))
    assert len(line) == 299 <= LONGEST_MESSAGE
    assert line.startswith("begin xxx") and line.endswith("xxx end") and "x ... x" in line
    assert one_line(ValueError("x" * 300)) == "x" * 300


@pytest.mark.parametrize("text", ["a::" * 100_000, "a.h:1 x::" * 100_000, "/a.h" * 100_000, "a.h:1 b::c(" * 50_000])
def test_a_message_of_any_length_takes_no_time(text):
    """Milliseconds; the second takes a minute where the patterns see all of it. 2 s are for a busy machine."""
    started = time.perf_counter()
    one_line(ValueError(text))
    assert time.perf_counter() - started < 2


def test_values_and_names_are_shown_short_and_on_one_line() -> None:
    assert (
        short_repr("a\nb") == "'a\\nb'"
        and len(short_repr("x" * 100)) == 60
        and short_repr(10**5000) == "an enormous value"
    )
    assert printable("a\nb\x1b") == "a\\nb\\x1b" and printable("größer") == "größer" and len(printable("x" * 100)) == 60


def test_numpys_values_are_shown_as_pythons() -> None:
    values = (np.str_("a.jpg"), np.float32(1.5), np.int64(3), np.array([1, 2]))
    assert [short_repr(value) for value in values] == ["'a.jpg'", "1.5", "3", "[1, 2]"]
