"""`python -m endurance.soak`: repeats stages, and checks that memory, open files and threads do not grow.

Half of the time `teach`, `distill` and `evaluate` are repeated in one process, the other half each one in its own process.
"""

import argparse
import csv
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from endurance.commands import commands
from stages.project.project import project_of
from tests.closure import ROOT
from tests.fixtures import make_project, params

WARM = 0.25
"""Share of the rounds, at the start, in which caches fill. Slopes are those of the other rounds."""
FLAT = 0.02
"""Largest growth of memory over all measured rounds, as a share of it, that counts as flat."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """The state of a process after a round."""

    minute: float
    memory: float
    """Resident memory in MB."""
    files: int
    """Open files, sockets and pipes."""
    threads: int


def sample(start: float) -> Sample:
    """Return the present state of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6
    files = len(os.listdir("/proc/self/fd"))
    return Sample((time.monotonic() - start) / 60, resident, files, threading.active_count())


def parameters() -> dict[str, Any]:
    """Return the parameters of the tests' small project, with a test part."""
    recipe = {"steps": 6, "batch": 8, "precision": "float32"}
    terms = {"truth": 0.5, "tiny": 0.5}
    values = params(
        distill={"width": 8, "input": [64, 32], "terms": terms, "min_score": 0.0, "training": recipe},
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        evaluate={"resamples": 10},
    )
    values["datasets"]["coco"]["test"] = {"file": "train.json", "images": "pictures"}
    return values


def slope(values: list[float]) -> float:
    """Return the least-squares growth per round."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


def in_one_process(seconds: float) -> list[Sample]:
    """Repeat all three stages in this process, in the current folder, for `seconds`; return a sample per round."""
    from stages import prepare
    from stages.distill import run as distill
    from stages.evaluate import run as evaluate
    from stages.teach import run as teach

    values, quiet, start = parameters(), (lambda line: None), time.monotonic()
    prepare.run(project_of(values), log=quiet)
    samples = []
    while time.monotonic() - start < seconds:
        shutil.rmtree("data/targets", ignore_errors=True)
        teach.run(project_of(values), "tiny", "cpu", log=quiet)
        distill.run(project_of(values), None, "cpu", log=quiet)
        evaluate.run(project_of(values), None, "cpu", log=quiet)
        samples.append(sample(start))
    return samples


def is_flat(samples: list[Sample], log: Callable[[str], None]) -> bool:
    """Log first and last value and slope of each measure over the rounds after the warm ones; return whether all are flat."""
    kept = samples[int(WARM * len(samples)) :]
    memory = [each.memory for each in kept]
    growth = slope(memory) * (len(kept) - 1)
    log(f"{len(samples)} rounds in {samples[-1].minute:.1f} minutes, of which the last {len(kept)} are measured")
    log(f"memory: {memory[0]:.1f} to {memory[-1]:.1f} MB, slope {1000 * slope(memory):+.1f} kB a round")
    flat = growth <= FLAT * memory[0]
    for name in ("files", "threads"):
        values = [float(getattr(each, name)) for each in kept]
        log(f"{name}: {values[0]:.0f} to {values[-1]:.0f}, slope {slope(values):+.4f} a round")
        flat = flat and max(values) - min(values) <= 1
    return flat


def in_own_processes(folder: Path, seconds: float, log: Callable[[str], None]) -> bool:
    """Repeat each stage in its own process; return whether no stage's peak, and no number of files, grows."""
    start, peaks = time.monotonic(), dict[str, list[float]]()
    line = [("teach", "--teacher", "tiny", "--device", "cpu"), ("distill", "--device", "cpu"), ("evaluate",)]
    files_before = 0
    with commands(folder, ROOT) as server:
        while time.monotonic() - start < seconds:
            for arguments in line:
                ended = server.run(*arguments)
                if ended.code:
                    sys.exit(f"{arguments[0]}: exit code {ended.code}: {ended.output[-1000:]}")
                peaks.setdefault(arguments[0], []).append(ended.peak)
            files = sum(1 for _ in (folder / "data").rglob("*"))
            files_before = files_before or files
    flat = files == files_before
    log(
        f"\n{len(peaks['teach'])} rounds, each stage in a process of its own; files in data/: {files_before} to {files}"
    )
    for stage, values in peaks.items():
        log(f"{stage}: peak {values[0]:.1f} to {values[-1]:.1f} MB, slope {1000 * slope(values):+.1f} kB a round")
        flat = flat and slope(values) * (len(values) - 1) <= FLAT * values[0]
    return flat


def main() -> None:
    """Run both halves, print the slopes, write the samples; exit code 1 if something grows."""
    parser = argparse.ArgumentParser(prog="python -m endurance.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--record", type=Path, help="a CSV file for the samples of the first half")
    options = parser.parse_args()
    record = options.record and options.record.absolute()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        make_project(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters()))
        os.chdir(folder)
        samples = in_one_process(30 * options.minutes)
        flat = is_flat(samples, print)
        if record:
            with record.open("w", newline="") as stream:
                rows = csv.writer(stream, lineterminator="\n")
                rows.writerow([field.name for field in fields(Sample)])
                rows.writerows([[f"{value:.6g}" for value in astuple(each)] for each in samples])
        flat = in_own_processes(folder, 30 * options.minutes, print) and flat
        os.chdir(ROOT)
    print("flat" if flat else "GROWS")
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
