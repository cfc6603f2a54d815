"""Where a session really runs, and what is said where it is not CUDA: with a driver, libraries and a runtime that are made up."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from pipeline.common.errors import UserError
from pipeline.inference import devices as providers
from pipeline.inference.devices import NoCuda, convolution_model, no_cuda, open_session
from tests.closure import ROOT

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ONES = {"crops": np.ones((1, 1, 2, 2), np.float32)}
INSTALL = "`pip install 'onnxruntime-gpu[cuda,cudnn]'`"
NO_FILE = "{}: cannot open shared object file: No such file or directory"
UNASSIGNED = "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default CPU EP"

OLD_DRIVER = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 35: CUDA driver "
    "version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=here ; file=cuda_execution_provider.cc ; line=355 ; "
    "expr=cudaSetDevice(info_.device_id); \n\n"
)
"""What onnxruntime-gpu 1.31.1 raises on a driver of CUDA 12, shortened in the middle."""


@pytest.fixture
def machine(monkeypatch):
    """Make up a machine: what the driver answers, which libraries cannot be loaded, and what a CUDA session does."""
    real = ort.InferenceSession

    def make(code=0, count=1, missing=(), fails=None, gets=CUDA, listed=True, fails_with_a_file=None):
        asked = []

        def load(name):
            for library, text in dict(missing).items():
                if library in name:
                    raise OSError(text.replace("PATH", name))
            return SimpleNamespace(cuInit=lambda flags: code, cuDeviceGetCount=fill)

        def fill(pointer):
            pointer._obj.value = count
            return 0

        def session(model, options, providers, **more):
            asked.append(SimpleNamespace(options=options, providers=providers, more=more))
            if providers == [CPU]:
                return real(model, options, providers=providers, **more)
            problem = fails or (fails_with_a_file if len(providers) > 1 else None)
            if problem:
                raise RuntimeError(problem)
            return SimpleNamespace(get_providers=lambda: [gets, CPU], run=lambda names, feeds: None)

        made_up = SimpleNamespace(CDLL=load, c_int=ctypes.c_int, byref=ctypes.byref)
        monkeypatch.setattr(providers, "ctypes", made_up)
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU] if listed else [CPU])
        monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load something"), raising=False)
        monkeypatch.setattr(providers, "DRIVER", "libcuda.so.1")
        monkeypatch.setattr(providers, "CUDNN", "libcudnn.so.9")
        return asked

    return make


def missing(wanted: str, named: str | None = None) -> dict[str, str]:
    return {wanted: NO_FILE.format(named or wanted)}


@pytest.mark.parametrize(
    ("threads", "note"), [(0, CPU), (1, f"{CPU}, 1 thread"), (2, f"{CPU}, 2 threads")], ids=["any", "one", "two"]
)
def test_on_the_cpu(monkeypatch, threads, note):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(providers, "no_cuda", lambda: pytest.fail("nobody asked for CUDA"))
    monkeypatch.setattr(providers, "cores", os.cpu_count)
    opened = open_session(convolution_model(), "cpu", threads)
    assert (opened.provider, opened.note) == (CPU, note)
    assert opened.session.get_session_options().intra_op_num_threads == threads
    assert opened.session.run(None, ONES)[0].tolist() == [[[[4.0]]]]


def test_a_file_opens_like_its_content(tmp_path):
    (tmp_path / "a.onnx").write_bytes(convolution_model())
    assert open_session(tmp_path / "a.onnx", "cpu").session.run(None, ONES)[0].item() == 4.0


OBSTACLES = {
    "a build for the CPU": (
        {"listed": False},
        "this build of onnxruntime has no CUDA provider",
        f"`pip uninstall onnxruntime`, then {INSTALL}",
    ),
    "no driver": (
        {"missing": missing("libcuda.so.1")},
        "no NVIDIA driver, libcuda.so.1 is missing",
        "install NVIDIA's driver",
    ),
    "no GPU": ({"code": 100}, "NVIDIA's driver finds no GPU", "see nvidia-smi and CUDA_VISIBLE_DEVICES"),
    "none of the GPUs": ({"count": 0}, "NVIDIA's driver finds no GPU", "see nvidia-smi and CUDA_VISIBLE_DEVICES"),
    "a driver of two versions": (
        {"code": 803},
        "NVIDIA's driver fails with CUDA error 803",
        "see nvidia-smi, install the driver again",
    ),
    "no cuBLAS": (
        {"fails": UNASSIGNED, "missing": missing("providers_cuda", "libcublasLt.so.13")},
        "libcublasLt.so.13 is missing",
        INSTALL,
    ),
    "no cuDNN": ({"fails": UNASSIGNED, "missing": missing("libcudnn.so.9")}, "libcudnn.so.9 is missing", INSTALL),
    "a driver without what CUDA 13 calls": (
        {"fails": UNASSIGNED, "missing": {"providers_cuda": "PATH: undefined symbol: cuTensorMapEncodeTiled"}},
        "libonnxruntime_providers_cuda.so cannot be loaded (undefined symbol: cuTensorMapEncodeTiled)",
        "update NVIDIA's driver",
    ),
    "an old driver": (
        {"fails": OLD_DRIVER},
        "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
        "update NVIDIA's driver",
    ),
    "something else": (
        {"fails": UNASSIGNED},
        "This session contains graph nodes that are assigned to the default CPU EP",
        "update NVIDIA's driver",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_keeps_networks_from_cuda(machine, monkeypatch, tmp_path, capfd, name):
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi/libonnxruntime_providers_cuda.so").touch()
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    setup, reason, remedy = OBSTACLES[name]
    machine(**setup)
    assert no_cuda() == NoCuda(reason, remedy)
    opened = open_session(convolution_model(), "auto", 2)
    assert (opened.provider, opened.note) == (CPU, f"{CPU}, 2 threads (no CUDA: {reason})")
    assert opened.session.run(None, ONES)[0].item() == 4.0
    with pytest.raises(UserError) as refused:
        open_session(convolution_model(), "cuda")
    told = f"device cuda was requested, ONNX Runtime got {CPU}: {reason}: {remedy}, or use `--device cpu`"
    assert str(refused.value) == told
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_on_cuda_where_it_works(machine, device):
    asked = machine()
    assert no_cuda() is None
    opened = open_session(convolution_model(), device, 2)
    assert (opened.provider, opened.note) == (CUDA, CUDA)
    proof, real = asked[-2:]
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    assert proof.providers == [(CUDA, options)] and real.providers == [(CUDA, options), CPU]
    assert proof.options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert real.options.intra_op_num_threads == 2
    assert all(one.more == {"enable_fallback": 0} and one.options.log_severity_level == 4 for one in asked)


def test_a_session_that_was_asked_for_cuda_and_is_on_the_cpu(machine):
    machine(gets=CPU)
    reason = "ONNX Runtime took another provider and gives no reason"
    assert open_session(convolution_model(), "auto").note == f"{CPU} (no CUDA: {reason})"
    with pytest.raises(UserError, match=f"device cuda was requested, ONNX Runtime got {CPU}: {reason}: "):
        open_session(convolution_model(), "cuda")


def test_a_model_that_is_too_large_for_the_gpu(machine):
    machine(fails_with_a_file="[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory\nfor a node")
    assert open_session(convolution_model(), "auto").note == f"{CPU} (no CUDA: Failed to allocate memory for a node)"
    with pytest.raises(
        UserError, match="Failed to allocate memory for a node: see nvidia-smi for what else uses the GPU, or use"
    ):
        open_session(convolution_model(), "cuda")


@pytest.mark.parametrize(
    ("device", "setup"),
    [
        ("cpu", {}),
        ("auto", {"code": 100}),
        ("cuda", {"code": 100}),
        ("auto", {"fails_with_a_file": "no protobuf"}),
        ("cuda", {"fails_with_a_file": "no protobuf"}),
    ],
)
def test_a_broken_file_is_the_files_fault(machine, capfd, tmp_path, device, setup):
    machine(**setup)
    (tmp_path / "cut.onnx").write_bytes(convolution_model()[:60])
    with pytest.raises(Exception, match="INVALID_PROTOBUF") as raised:
        open_session(tmp_path / "cut.onnx", device)
    assert not isinstance(raised.value, UserError)
    assert capfd.readouterr() == ("", "")


def test_without_preload_dlls(machine, monkeypatch):
    machine()
    monkeypatch.delattr(ort, "preload_dlls")
    assert no_cuda() is None


def test_this_machine_as_it_is(capfd):
    obstacle = no_cuda()
    opened = open_session(convolution_model(), "auto")
    assert opened.session.get_providers()[0] == opened.provider == (CPU if obstacle else CUDA)
    assert opened.note == (f"{CPU} (no CUDA: {obstacle.reason})" if obstacle else CUDA)
    assert opened.session.run(None, ONES)[0].item() == 4.0
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_float32_on_cuda_is_not_tf32():
    obstacle = no_cuda()
    if obstacle:
        pytest.skip(f"no CUDA: {obstacle.reason}")
    # 4 x (1 + 2^-12): TF32 keeps 10 bits and says 4, which is 2.4e-4 off; float32 is exact to 6e-8 per addition.
    crops = np.full((1, 1, 2, 2), 1 + 2**-12, np.float32)
    found = open_session(convolution_model(), "cuda").session.run(None, {"crops": crops})[0].item()
    assert found == pytest.approx(4 + 2**-10, rel=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinities")
@pytest.mark.parametrize("asked", [0, 3])
def test_a_session_has_as_many_threads_as_the_process_may_use_cores(asked):
    """As under `taskset -c 0`. What is asked for is what it gets."""
    first = min(os.sched_getaffinity(0))
    code = (
        "from pipeline.inference.devices import convolution_model, open_session\n"
        f"session = open_session(convolution_model(), 'cpu', {asked}).session\n"
        "print(session.get_session_options().intra_op_num_threads)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{first}])\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    everywhere = len(os.sched_getaffinity(0)) == os.cpu_count() == 1
    assert done.stdout.strip() == str(asked or (0 if everywhere else 1))
