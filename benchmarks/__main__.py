"""Runs every benchmark, one after the other, with settings that together take less than 15 minutes on two idle cores.

    python -m benchmarks

Each one runs in its own process and writes its JSON and plot to results/benchmarks. One that fails does not stop the others. If a GPU
works, some are repeated on it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import RESULTS
from pipeline.networks.run import torch_device
from stages.doctor.run import gpus

ON_THE_CPU = (
    ("teacher_bound", "--device", "cpu", "--draw", "100", "--rounds", "3"),
    ("store",),
    ("loader",),
    ("student_step", "--device", "cpu", "--draw", "40", "--steps", "5"),
    ("cluster", "--device", "cpu"),
    ("scale",),
    ("evaluation",),
    ("neighbours", "--seconds", "5", "--rounds", "2"),
)
ON_A_GPU = (
    ("gpu", "--device", "cuda"),
    ("cluster", "--device", "cuda", "--draw", "1000"),
)
GPU_FOLDER = "gpu"
"""Subfolder for the results of ON_A_GPU."""


def main() -> None:
    """Run all benchmarks; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    failed = [name for name, *arguments in ON_THE_CPU if not _run(name, [*arguments, "--out", str(out)])]
    if torch_device("auto").type == "cuda":
        failed += [
            f"{name} on a GPU"
            for name, *arguments in ON_A_GPU
            if not _run(name, [*arguments, "--out", str(out / GPU_FOLDER)])
        ]
    else:
        print(f"no GPU that works: {gpus()[0]}; measured on the CPU alone")
    if failed:
        raise SystemExit(f"error: failed: {', '.join(failed)}")


def _run(name: str, arguments: list[str]) -> bool:
    """Run one benchmark, print its command and time; return whether it succeeded."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    print(f"python -m benchmarks.{name} {' '.join(arguments)}", flush=True)
    start = time.perf_counter()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    took = f"{time.perf_counter() - start:.0f} s"
    print(f"  {'done' if code == 0 else f'failed with exit code {code}'} after {took}", flush=True)
    return code == 0


if __name__ == "__main__":
    main()
