"""Describes the machine of a benchmark, and writes results as JSON."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.doctor.run import cpu, gpus

RESULTS = Path("results/benchmarks")
PACKAGES = ("numpy", "onnxruntime-gpu", "onnxruntime", "opencv-python-headless", "torch", "zarr")


def machine() -> dict[str, Any]:
    """Return processor, memory, GPUs, versions, and the load before the benchmark."""
    return {
        "cpu": f"{_processor()}, {cpu()}",
        "gpus": gpus(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def write(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Write `result` to `<folder>/<name>.json`; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
