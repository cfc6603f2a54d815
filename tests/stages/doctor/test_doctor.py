"""The report: what the machine really does, line by line, and never an error for what is missing."""

import os
import sys
from pathlib import Path

import onnxruntime as ort
import pytest
import torch

from pipeline.inference import devices as providers
from stages.doctor import run as doctor

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a shell script in its place, the only program on the path."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(body: str) -> None:
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    return write


def report() -> list[str]:
    lines: list[str] = []
    doctor.run(lines.append)
    return lines


def section(lines: list[str], title: str) -> list[str]:
    """The indented lines below a title."""
    rest = lines[lines.index(title) + 1 :]
    end = next((n for n, line in enumerate(rest) if not line.startswith(" ")), len(rest))
    return [" ".join(line.split()) for line in rest[:end]]


def test_gpus(nvidia_smi):
    nvidia_smi("echo 'NVIDIA H200, 580.12, 143771, 102400'; echo 'Tesla, the old one, 580.12, 8192, 512'")
    assert doctor.gpus() == [
        "NVIDIA H200, driver 580.12, 140 GiB of memory, 100 GiB of it free",
        "Tesla, the old one, driver 580.12, 8 GiB of memory, 0 GiB of it free",
    ]


def test_nvidia_smi_is_asked_for_what_is_read(nvidia_smi):
    nvidia_smi('echo "$*"')
    assert doctor.gpus() == ["--query-gpu=name,driver_version,memory.total,memory.free --format=csv,noheader,nounits"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 'NVIDIA A100 MIG 1g.5gb, 580.12, [N/A], [N/A]'", "NVIDIA A100 MIG 1g.5gb, 580.12, [N/A], [N/A]"),
        ("echo 'No devices were found'; exit 6", "none: nvidia-smi reports: No devices were found"),
        ("echo 'Driver/library version\nmismatch' >&2; exit 18", "none: nvidia-smi reports: Driver/library version mismatch"),
        ("exit 9", "none: nvidia-smi reports: exit code 9"),
        ("true", "none: nvidia-smi reports: exit code 0"),
    ],
)  # fmt: skip
def test_gpus_that_do_not_answer(nvidia_smi, body, message):
    nvidia_smi(body)
    assert doctor.gpus() == [message]


def test_no_nvidia_smi(nvidia_smi):
    assert doctor.gpus() == ["none known: nvidia-smi is not installed"]


def test_nvidia_smi_hangs(nvidia_smi, monkeypatch):
    monkeypatch.setattr(doctor, "NVIDIA_SMI_TIMEOUT", 0.2)
    nvidia_smi("exec /bin/sleep 60")
    (message,) = doctor.gpus()
    assert message.startswith("none known: nvidia-smi fails: ") and message.endswith("timed out after 0.2 seconds")


def test_nvidia_smi_is_no_program(nvidia_smi):
    nvidia_smi("")
    (Path(os.environ["PATH"]) / "nvidia-smi").chmod(0o644)
    (message,) = doctor.gpus()
    assert message.startswith("none known: nvidia-smi fails: ") and "Permission denied" in message


def test_torch_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert doctor.describe_torch_device() == "cpu (built without CUDA)"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert doctor.describe_torch_device() == "cpu (built for CUDA 13.0, finds no GPU)"


def test_torch_that_lists_a_gpu_and_cannot_use_it(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", refuse)
    message = "cuda is listed but does not work: CUDA error: no kernel image is available for execution on the device"
    assert doctor.describe_torch_device() == message


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([CUDA, CPU], "onnxruntime lists CUDAExecutionProvider but it does not open: libcudart.so.13 is missing: install it"),
        ([CPU], "not available: libcudart.so.13 is missing: install it"),
    ],
    ids=["listed", "not listed"],
)  # fmt: skip
def test_onnxruntime_without_cuda(monkeypatch, listed, message):
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    monkeypatch.setattr(providers, "no_cuda", lambda: providers.NoCuda("libcudart.so.13 is missing", "install it"))
    assert doctor.onnxruntime_devices() == [("onnxruntime cpu", CPU), ("onnxruntime cuda", message)]


def test_onnxruntime_on_cuda(monkeypatch):
    def opened(model, device):
        return providers.OpenSession(None, {"cpu": CPU, "cuda": CUDA}[device], {"cpu": CPU, "cuda": CUDA}[device])

    monkeypatch.setattr(providers, "open_session", opened)
    assert doctor.onnxruntime_devices() == [("onnxruntime cpu", CPU), ("onnxruntime cuda", CUDA)]


def versions_of(monkeypatch, **installed: str) -> dict[str, str]:
    monkeypatch.setattr(doctor, "_version", lambda name: installed.get(name.replace("-", "_")))
    return dict(doctor.versions())


def test_versions(monkeypatch):
    found = versions_of(monkeypatch, torch="2.13.0", onnxruntime_gpu="1.31.1")
    assert found.pop("python").startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    not_there = dict.fromkeys(("pose-fusion", "numpy", "zarr", "dvc"), "not installed")
    assert found == {"torch": "2.13.0", "onnxruntime-gpu": "1.31.1", **not_there}


def test_versions_of_no_runtime_and_of_two(monkeypatch):
    assert versions_of(monkeypatch)["onnxruntime"].startswith(
        "not installed: `pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    )
    two = versions_of(monkeypatch, onnxruntime="1.30", onnxruntime_gpu="1.31")
    assert two[""] == "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"


def test_free_disk_is_that_of_a_linked_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/data").symlink_to(tmp_path / "large" / "not yet made")
    monkeypatch.chdir(tmp_path / "here")
    folders = []
    usage = type("Usage", (), {"free": 75e9, "total": 271e9})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: folders.append(path) or usage)
    assert doctor.disk(Path("data")) == "75 GB free of 271 GB at data/"
    assert folders == [tmp_path]


def test_a_whole_report(unprepared, nvidia_smi):
    lines = report()
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles == ["versions", "machine", "networks run on", "params.yaml", "3 gaps: start with the first"]
    assert "GPU none known: nvidia-smi is not installed" in section(lines, "machine")
    assert [line.split()[0] for line in section(lines, "params.yaml")] == ["ok", "gap", "ok", "gap", "gap"]
    assert section(lines, "params.yaml")[0] == "ok dataset coco 1 annotation file, 1 image folder"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "params.yaml not found in this folder"),
        (lambda file: file.write_text("seed: [0"), "params.yaml: not readable as YAML"),
        (lambda file: file.write_text("sede: 0"), "params.yaml: unknown key `sede`: did you mean `seed`?"),
        (
            lambda file: file.write_text("teachers: {1: {}}"),
            "params.yaml: teachers: expected names that are text, found 1: ",
        ),
    ],
    ids=["none", "no YAML", "unknown key", "a number as a name"],
)
def test_without_a_params_file_that_can_be_read(unprepared, nvidia_smi, spoil, message):
    spoil(Path("params.yaml"))
    lines = report()
    (row,) = section(lines, "params.yaml")
    assert row.startswith(f"gap {message}") and lines[-1] == "1 gap: start with the first"
    assert section(lines, "networks run on")[1] == f"onnxruntime cpu {CPU}"


def test_with_broken_libraries(unprepared, nvidia_smi, monkeypatch):
    for name in ("torch", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    lines = report()
    torch_row, runtime = section(lines, "networks run on")
    assert torch_row.startswith("torch cannot be imported: ")
    assert runtime.startswith("onnxruntime does not work: ")
    assert len(section(lines, "params.yaml")) == 5
