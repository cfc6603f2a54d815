"""`pipeline doctor`: reports what this machine and this folder have, and what is missing. Nothing that it finds is an error."""

import contextlib
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from pipeline.common.errors import UserError, one_line
from pipeline.common.threads import cores
from stages.project.parsing import PARAMS_FILE
from stages.project.project import load_project

CHECKED_PACKAGES = ("pose-fusion", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "zarr", "dvc")
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
"""One of the two is needed. Both install into the same folder."""

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits")
NVIDIA_SMI_TIMEOUT = 20
"""Seconds. nvidia-smi can hang where the driver is broken."""

DATA_FOLDER = Path("data")

Rows = list[tuple[str, str]]


def run(log: Callable[[str], None] = print) -> None:
    """Print versions, machine, devices, and the state of everything that params.yaml names."""
    _table("versions", versions(), log)
    _table("machine", [("CPU", cpu()), *[("GPU", gpu) for gpu in gpus()], ("disk", disk(DATA_FOLDER))], log)
    _table("networks run on", [("torch", describe_torch_device()), *onnxruntime_devices()], log)
    gaps = _table_of_params(log)
    log("nothing is missing" if not gaps else f"{gaps} gap{'s' if gaps > 1 else ''}: start with the first")


def _table(title: str, rows: Rows, log: Callable[[str], None]) -> None:
    log(title)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        log(f"  {name:<{width}}  {value}")


def versions() -> Rows:
    """Return the installed versions of Python and of the packages that matter."""
    known = {name: _version(name) for name in CHECKED_PACKAGES}
    rows = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    rows += [(name, version or "not installed") for name, version in known.items() if version or name not in RUNTIMES]
    installed = [name for name in RUNTIMES if known[name]]
    if not installed:
        rows.append(("onnxruntime", "not installed: `pip install 'onnxruntime-gpu[cuda,cudnn]'`, or onnxruntime"))
    if len(installed) > 1:
        rows.append(("", "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"))
    return rows


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu() -> str:
    """Describe the memory, and the cores that this process may use."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (os.sysconf(name) * page / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return f"{cores()} cores"
    return f"{cores()} cores, {total:.0f} GiB of memory, {free:.0f} GiB of it free"


def gpus() -> list[str]:
    """Return one line per GPU that nvidia-smi lists, or one line that tells why there is none."""
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT, check=False)
    except FileNotFoundError:
        return ["none known: nvidia-smi is not installed"]
    except (OSError, subprocess.SubprocessError) as error:
        return [f"none known: nvidia-smi fails: {one_line(error)}"]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not lines:
        message = " ".join((done.stdout + done.stderr).split()) or f"exit code {done.returncode}"
        return [f"none: nvidia-smi reports: {message}"]
    return [_gpu(line) for line in lines]


def _gpu(line: str) -> str:
    """Return a line of `name, driver, MiB, MiB free` as a phrase. A line of another form stays as it is."""
    fields = line.rsplit(", ", 3)
    if len(fields) != 4 or not all(field.strip().isdigit() for field in fields[2:]):
        return line
    total, free = (int(field) / 1024 for field in fields[2:])
    return f"{fields[0]}, driver {fields[1]}, {total:.0f} GiB of memory, {free:.0f} GiB of it free"


def disk(folder: Path) -> str:
    """Return the free space on the disk that the folder is on, or would be on."""
    absolute = folder.resolve()
    usage = shutil.disk_usage(next(parent for parent in (absolute, *absolute.parents) if parent.exists()))
    return f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} GB at {folder}/"


def describe_torch_device() -> str:
    """Describe the device that torch really computes on."""
    try:
        import torch
    except Exception as error:  # half-installed libraries raise anything
        return f"cannot be imported: {one_line(error)}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is reported below
        if not torch.cuda.is_available():
            build = f"built for CUDA {torch.version.cuda}, finds no GPU" if torch.version.cuda else "built without CUDA"
            return f"cpu ({build})"
        try:
            (torch.ones(1, device="cuda") + 1).item()
        except Exception as error:
            return f"cuda is listed but does not work: {one_line(error)}"
    return f"cuda ({torch.cuda.get_device_name()})"


def onnxruntime_devices() -> Rows:
    """Describe the devices that ONNX Runtime opens a small network on, for the CPU and for CUDA."""
    try:
        import onnxruntime

        from pipeline.inference.devices import PROVIDERS, convolution_model, no_cuda, open_session

        listed = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
        on_cpu = open_session(convolution_model(), "cpu").note
    except Exception as error:
        return [("onnxruntime", f"does not work: {one_line(error)}")]
    with contextlib.suppress(UserError):
        return [("onnxruntime cpu", on_cpu), ("onnxruntime cuda", open_session(convolution_model(), "cuda").note)]
    obstacle = no_cuda()
    why = f"{obstacle.reason}: {obstacle.remedy}" if obstacle else "it gives no reason"
    lists = "onnxruntime lists CUDAExecutionProvider but it does not open" if listed else "not available"
    return [("onnxruntime cpu", on_cpu), ("onnxruntime cuda", f"{lists}: {why}")]


def _table_of_params(log: Callable[[str], None]) -> int:
    """Print the state of everything that params.yaml names, and return the number of gaps."""
    try:
        project = load_project()
    except UserError as error:
        _table(str(PARAMS_FILE), [("gap", str(error))], log)
        return 1
    from stages.doctor.inventory import inventory

    entries = inventory(project)
    _table(
        str(PARAMS_FILE),
        [(f"{'ok ' if entry.complete else 'gap'}  {entry.name}", entry.state) for entry in entries],
        log,
    )
    return sum(not entry.complete for entry in entries)
