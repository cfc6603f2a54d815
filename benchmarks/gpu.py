"""Everything that is different on a GPU, in at most ten minutes: it is run where there is one for a short time.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --quick

- `pytest -m gpu`;
- stage one over a bare loop of its teacher (benchmarks.teacher_bound);
- steps of RTMPose-s from the stores over those on tensors on the device, in float32, float16, bfloat16 and compiled
  (benchmarks.student_step);
- a training under `torchrun` with one process, and the same without: their weights;
- a store that this device wrote, verified and read on the CPU, and its levels beside those of a store that the CPU wrote.

Each part runs in its own process. Writes results/benchmarks/gpu (or --out): a JSON file of what was found, and those of the benchmarks.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
import zarr
from safetensors.torch import load_file

from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, params_of, write_tables
from benchmarks.machine import RESULTS, machine, write
from pipeline.networks.run import torch_device
from pipeline.pose.options import Device
from stages import crops
from stages.project.project import project_of

ROOT = Path(__file__).resolve().parent.parent
VIEWS = 2
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "cli")


def main() -> None:
    """Run all parts and write what they found; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--quick", action="store_true", help="few images, steps and rounds: to try it")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu")
    options = parser.parse_args()
    device, out = torch_device(options.device).type, options.out.absolute()
    result: dict[str, Any] = {"machine": machine(), "device": device, "seconds": {}}
    parts = {
        f"python {' '.join(part)}": [sys.executable, *part, "--out", str(out)]
        for part in _benchmarks(device, options.quick)
    }
    if device == "cuda":
        parts = {"pytest -m gpu": [sys.executable, "-m", "pytest", "-m", "gpu"], **parts}
    failed = []
    for name, command in parts.items():
        start = time.perf_counter()
        print(name, flush=True)
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
            failed.append(name)
        result["seconds"][name] = round(time.perf_counter() - start, 1)
    with empty_folder():
        _draw(30 if options.quick else 200, 4 if options.quick else 50)
        result["torchrun"] = _torchrun(device)
        result["store"] = _stores(device)
    result["failed"] = failed
    print(write("gpu", result, out))
    print(json.dumps(result, indent=1))
    if failed:
        raise SystemExit(f"error: failed: {', '.join(failed)}")


def _benchmarks(device: str, quick: bool) -> list[list[str]]:
    """Return the benchmarks with their options."""
    bound = ["--draw", "20", "--rounds", "1"] if quick else ["--draw", "500", "--rounds", "2"]
    step = (
        ["--draw", "10", "--steps", "2", "--rounds", "1", "--batch", "8"]
        if quick
        else ["--draw", "150", "--batch", "128", "--workers", "8"]
    )
    kinds = [("float32",), ("bfloat16",), ("bfloat16", "--compile")]
    if device == "cuda":
        kinds.insert(1, ("float16",))
    steps = [
        [
            "-m",
            "benchmarks.student_step",
            "--device",
            device,
            *step,
            "--name",
            f"student-{kind[-1].strip('-')}",
            "--precision",
            *kind,
        ]
        for kind in kinds
    ]
    return [["-m", "benchmarks.teacher_bound", "--device", device, *bound], *steps]


def _draw(images: int, steps: int) -> None:
    """Make a project in the current folder: drawn people, a small teacher, and a student of it."""
    draw(images)
    export_teachers()
    params = params_of(VIEWS)
    params["teachers"] = {"drawn": params["teachers"][TEACHERS[1]]}
    recipe = {"steps": steps, "batch": 8, "precision": "float32"}
    params["distill"] = {"terms": {"truth": 0.5, "drawn": 0.5}, "input": [128, 96], "training": recipe}
    params["students"] = {"student": {"datasets": ["coco"], "teachers": ["drawn"], "view_count": VIEWS}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    write_tables(params)
    crops.run(project_of(params), lambda line: None)


def _torchrun(device: str) -> dict[str, Any]:
    """Train with and without torchrun; return the seconds of both and the largest difference of their weights."""
    _run("-m", "cli", "teach", "--teacher", "drawn", "--no-check", "--device", device)
    weights, seconds = [], []
    for command in (("-m", "cli"), TORCHRUN):
        shutil.rmtree("data/students", ignore_errors=True)
        start = time.perf_counter()
        _run(*command, "distill", "--device", device)
        seconds.append(round(time.perf_counter() - start, 1))
        weights.append(load_file("data/students/student/student.safetensors"))
    largest = max(float((weights[0][name].float() - weights[1][name].float()).abs().max()) for name in weights[0])
    return {"seconds without and with": seconds, "largest difference of a weight": largest}


def _stores(device: str) -> dict[str, Any]:
    """Verify the device's store on the CPU, and compare its levels, 0 to 255, with those of a store that the CPU writes."""
    store = Path("data/targets/drawn/coco-train.zarr")
    _run("-m", "cli", "cache", "verify", str(store), hidden=True)
    ours = _levels(store)
    shutil.rmtree("data/targets")
    _run("-m", "cli", "teach", "--teacher", "drawn", "--no-check", "--device", "cpu")
    apart = np.abs(ours - _levels(store))
    return {"levels": apart.size, "levels apart, mean and largest": [float(apart.mean()), int(apart.max())]}


def _levels(store: Path) -> np.ndarray:
    """Return the levels of all bins of x and y, int16 (people, views, keypoints, bins)."""
    group = zarr.open_group(store, mode="r")
    return np.concatenate([np.asarray(group[name]) for name in ("x", "y")], axis=-1).astype(np.int16)


def _run(*arguments: str, hidden: bool = False) -> None:
    """Run Python in the current folder with this project's code, without a GPU if `hidden`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"CUDA_VISIBLE_DEVICES": ""} if hidden else {})}
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
