"""`pipeline doctor`: what this machine and this folder have, and what is missing. A report: nothing that it finds is an error."""

import contextlib
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from pipeline.errors import UserError, one_line
from stages.params import FILE, load_params

PACKAGES = ("pose-fusion", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "zarr", "dvc")
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
"""Either of them; they are installed into one folder."""

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits")
SECONDS = 20
"""nvidia-smi can hang where the driver is broken."""

DATA = Path("data")

Rows = list[tuple[str, str]]


def run(say: Callable[[str], None] = print) -> None:
    """Print versions, machine, devices and what params.yaml names."""
    _table("versions", versions(), say)
    _table("machine", [("CPU", cpu()), *[("GPU", gpu) for gpu in gpus()], ("disk", disk(DATA))], say)
    _table("networks run on", [("torch", torch_device()), *onnxruntime_devices()], say)
    gaps = _table_of_params(say)
    say("nothing is missing" if not gaps else f"{gaps} gap{'s' if gaps > 1 else ''}: start with the first")


def _table(title: str, rows: Rows, say: Callable[[str], None]) -> None:
    say(title)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"  {name:<{width}}  {value}")


def versions() -> Rows:
    """Python and the packages that matter, as they are installed."""
    found = {name: _version(name) for name in PACKAGES}
    rows = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    rows += [(name, version or "not installed") for name, version in found.items() if version or name not in RUNTIMES]
    installed = [name for name in RUNTIMES if found[name]]
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
    """Cores that this process may use, and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (os.sysconf(name) * page / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return f"{cores} cores"
    return f"{cores} cores, {total:.0f} GiB of memory, {free:.0f} GiB of it free"


def gpus() -> list[str]:
    """One line per GPU that nvidia-smi lists, or one that says why there is none."""
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        return ["none known: nvidia-smi is not installed"]
    except (OSError, subprocess.SubprocessError) as error:
        return [f"none known: nvidia-smi fails: {one_line(error)}"]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not lines:
        told = " ".join((done.stdout + done.stderr).split()) or f"exit code {done.returncode}"
        return [f"none: nvidia-smi says: {told}"]
    return [_gpu(line) for line in lines]


def _gpu(line: str) -> str:
    """`name, driver, MiB, MiB free` as a phrase; what has another form stays as it is."""
    fields = line.rsplit(", ", 3)
    if len(fields) != 4 or not all(field.strip().isdigit() for field in fields[2:]):
        return line
    total, free = (int(field) / 1024 for field in fields[2:])
    return f"{fields[0]}, driver {fields[1]}, {total:.0f} GiB of memory, {free:.0f} GiB of it free"


def disk(folder: Path) -> str:
    """Free space where the folder is, or would be."""
    place = folder.resolve()
    usage = shutil.disk_usage(next(parent for parent in (place, *place.parents) if parent.exists()))
    return f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} GB at {folder}/"


def torch_device() -> str:
    """Where torch really computes."""
    try:
        import torch
    except Exception as error:  # half-installed libraries raise anything
        return f"cannot be imported: {one_line(error)}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is said below
        if not torch.cuda.is_available():
            build = f"built for CUDA {torch.version.cuda}, finds no GPU" if torch.version.cuda else "built without CUDA"
            return f"cpu ({build})"
        try:
            (torch.ones(1, device="cuda") + 1).item()
        except Exception as error:
            return f"cuda is listed but does not work: {one_line(error)}"
    return f"cuda ({torch.cuda.get_device_name()})"


def onnxruntime_devices() -> Rows:
    """What ONNX Runtime opens a small network on, when asked for the CPU and for CUDA."""
    try:
        import onnxruntime

        from pipeline.teachers.providers import PROVIDERS, convolution, no_cuda, open_session

        listed = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
        on_cpu = open_session(convolution(), "cpu").note
    except Exception as error:
        return [("onnxruntime", f"does not work: {one_line(error)}")]
    with contextlib.suppress(UserError):
        return [("onnxruntime cpu", on_cpu), ("onnxruntime cuda", open_session(convolution(), "cuda").note)]
    obstacle = no_cuda()
    why = f"{obstacle.reason}: {obstacle.remedy}" if obstacle else "it gives no reason"
    lists = "onnxruntime lists CUDAExecutionProvider but it does not open" if listed else "not there"
    return [("onnxruntime cpu", on_cpu), ("onnxruntime cuda", f"{lists}: {why}")]


def _table_of_params(say: Callable[[str], None]) -> int:
    """Print what params.yaml names; the number of gaps."""
    try:
        params = load_params()
    except UserError as error:
        _table(str(FILE), [("gap", str(error))], say)
        return 1
    from stages.inventory import inventory

    entries = inventory(params)
    _table(str(FILE), [(f"{'ok ' if entry.there else 'gap'}  {entry.what}", entry.found) for entry in entries], say)
    return sum(not entry.there for entry in entries)
