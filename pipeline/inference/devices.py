"""Opens ONNX Runtime sessions on a device, and finds the reason if CUDA does not work. Teachers are in session.py."""

import contextlib
import ctypes
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

from pipeline.common.errors import UserError, one_line
from pipeline.common.threads import cores
from pipeline.pose.options import Device

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}

CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, times every algorithm again for each new batch shape: seconds for a last, short batch.
    # HEURISTIC lets cuDNN choose, which sometimes is a little slower.
    "cudnn_conv_algo_search": "HEURISTIC",
    # TF32 is on by default and rounds the factors of float32 products to 10 bits; stores say float32.
    "use_tf32": "0",
}

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CUDNN = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of the driver API."""

MISSING = " is missing"

FATAL = 4
"""ONNX Runtime's log level. At lower levels it writes to stderr what an error of ours says in one line."""


@dataclass(frozen=True)
class OpenSession:
    """A session, and the provider that it really runs on."""

    session: ort.InferenceSession
    provider: str
    note: str
    """The provider in words for the user, with the number of threads if it was set, and the reason if it is not CUDA."""


@dataclass(frozen=True)
class NoCuda:
    """Why networks cannot run on CUDA here, and what to do; each is a phrase without a full stop."""

    reason: str
    remedy: str


def open_session(model: Path | bytes, device: Device, threads: int = 0) -> OpenSession:
    """Open a model, a file or its content, on a device; `auto` takes CUDA if it works. `threads` 0: those of its cores.

    Raises the runtime's own error for a model that it cannot open, and UserError if the device is `cuda` and CUDA does not work.
    """
    if device == "cpu":
        return _opened(_session(model, "cpu", threads), threads)
    obstacle = no_cuda()
    if obstacle is None:
        try:
            session = _session(model, "cuda", threads)
            if session.get_providers()[0] == PROVIDERS["cuda"]:
                return _opened(session, threads)
            obstacle = NoCuda("ONNX Runtime took another provider and gives no reason", "install onnxruntime-gpu again")
        except Exception as error:
            obstacle = NoCuda(one_line(error), "see nvidia-smi for what else uses the GPU")
    on_cpu = _session(model, "cpu", threads)  # errors of the model itself are raised here, for any device
    if device == "cuda":
        raise UserError(
            f"device cuda was requested, ONNX Runtime got {on_cpu.get_providers()[0]}: {obstacle.reason}: "
            f"{obstacle.remedy}, or use `--device cpu`"
        )
    return _opened(on_cpu, threads, f" (no CUDA: {obstacle.reason})")


def no_cuda() -> NoCuda | None:
    """Return what prevents CUDA: the build, the driver, the GPU or a library, in this order; None if a convolution runs on it."""
    install = "`pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return NoCuda("this build of onnxruntime has no CUDA provider", f"`pip uninstall onnxruntime`, then {install}")
    _preload()
    driver_problem = _driver_problem()
    if driver_problem:
        return driver_problem
    try:
        _convolve()
    except Exception as error:
        missing = _missing_library()
        if missing and missing.endswith(MISSING):
            return NoCuda(missing, install)
        return NoCuda(missing or one_line(error), "update NVIDIA's driver")
    return None


def convolution_model() -> bytes:
    """Return a small ONNX model that convolves `crops` float32 (1, 1, 2, 2) with ones into `maps` (1, 1, 1, 1)."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Conv", ["crops", "ones"], ["maps"])],
        "convolution",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 1, 1, 1])],
        [numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "ones")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _opened(session: ort.InferenceSession, threads: int, why: str = "") -> OpenSession:
    provider = session.get_providers()[0]
    count = f", {threads} thread{'s' if threads > 1 else ''}" if threads and provider == PROVIDERS["cpu"] else ""
    return OpenSession(session, provider, f"{provider}{count}{why}")


def _session(
    model: Path | bytes, device: Literal["cuda", "cpu"], threads: int, no_fallback: bool = False
) -> ort.InferenceSession:
    """Open a session on a device; with `no_fallback` no part of the model may run on the CPU."""
    ort.set_default_logger_severity(FATAL)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or _threads()
    options.log_severity_level = FATAL
    providers: list[str | tuple[str, dict[str, str]]] = []
    if device == "cuda":
        providers.append((PROVIDERS["cuda"], CUDA_OPTIONS))
    if no_fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    else:
        providers.append(PROVIDERS["cpu"])
    # The runtime's own fallback prints, and changes to the CPU in the middle of a run.
    return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)


def _threads() -> int:
    """Return 0, the runtime's own choice, where this process may use all cores; else their number, which the runtime does not ask for."""
    return 0 if cores() == os.cpu_count() else cores()


def _convolve() -> None:
    """Run a convolution on CUDA. An open session proves little: since onnxruntime 1.31 it opens without cuDNN."""
    session = _session(convolution_model(), "cuda", 1, no_fallback=True)
    session.run(None, {"crops": np.ones((1, 1, 2, 2), np.float32)})


def _preload() -> None:
    """Load CUDA and cuDNN from the nvidia wheels, if any. What the runtime prints about missing ones is found later anyway."""
    preload = getattr(ort, "preload_dlls", None)
    if preload:
        with contextlib.redirect_stdout(io.StringIO()):
            preload()


def _driver_problem() -> NoCuda | None:
    """Return the error of NVIDIA's driver, if any, from its own API (cuInit, cuDeviceGetCount)."""
    try:
        driver: Any = ctypes.CDLL(DRIVER)
    except OSError as error:
        return NoCuda(f"no NVIDIA driver, {_not_loaded(DRIVER, error)}", "install NVIDIA's driver")
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == NO_DEVICE or (code == 0 and count.value == 0):
        return NoCuda("NVIDIA's driver finds no GPU", "see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if code:
        return NoCuda(f"NVIDIA's driver fails with CUDA error {code}", "see nvidia-smi, install the driver again")
    return None


def _missing_library() -> str | None:
    """Return the shared library that the CUDA provider lacks, after it has failed to open; None if it lacks none."""
    # Only after the runtime has tried: a provider that is loaded here first misses the hooks that the runtime gives it.
    provider = (Path(ort.__file__).parent / "capi").glob("*onnxruntime_providers_cuda.*")
    for library in (*map(str, provider), CUDNN):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return _not_loaded(library, error)
    return None


def _not_loaded(library: str, error: OSError) -> str:
    """Return which file is missing. Linux names it in the error; often it is one that `library` needs."""
    name, found, _ = str(error).partition(": cannot open shared object file")
    if found:
        return name + MISSING
    return f"{Path(library).name} cannot be loaded ({one_line(error).removeprefix(library + ': ')})"
