"""`python -m tests.endurance.soak`: stages again and again; memory and open files, which must stay flat, of the process that runs them.

Half of the time `teach`, `distill` and `evaluate` are repeated in one process, the other half each in a process of its own.
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

from tests.closure import ROOT
from tests.endurance.commands import commands
from tests.fixtures import make_project, params

WARM = 0.25
"""Share of the rounds, at the start, in which caches fill: slopes are of the others."""
FLAT = 0.02
"""Largest growth of memory over all measured rounds, as a share of it, that passes for flat."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """A process after a round."""

    minute: float
    memory: float
    """Resident, in MB."""
    files: int
    """Open ones, sockets and pipes included."""
    threads: int


def sample(start: float) -> Sample:
    """This process now."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6
    files = len(os.listdir("/proc/self/fd"))
    return Sample((time.monotonic() - start) / 60, resident, files, threading.active_count())


def parameters() -> dict[str, Any]:
    """The small project of the tests, with a test part."""
    recipe = {"steps": 6, "batch": 8, "precision": "float32"}
    terms = {"truth": 0.5, "tiny": 0.5}
    found = params(
        distill={"width": 8, "input": [64, 32], "terms": terms, "score_floor": 0.0, "training": recipe},
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        evaluate={"resamples": 10},
    )
    found["datasets"]["coco"]["test"] = {"file": "train.json", "images": "pictures"}
    return found


def slope(values: list[float]) -> float:
    """Least-squares growth per round."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


def in_one_process(seconds: float, say: Callable[[str], None]) -> list[Sample]:
    """All three stages in this process, in the current folder, until so many seconds have passed; a sample per round."""
    from stages import distill, evaluate, prepare, teach

    values, quiet, start = parameters(), (lambda line: None), time.monotonic()
    prepare.run(values, say=quiet)
    found = []
    while time.monotonic() - start < seconds:
        shutil.rmtree("data/targets", ignore_errors=True)
        teach.run(values, "tiny", "cpu", say=quiet)
        distill.run(values, None, "cpu", say=quiet)
        evaluate.run(values, None, "cpu", say=quiet)
        found.append(sample(start))
    return found


def judged(found: list[Sample], say: Callable[[str], None]) -> bool:
    """Say first, last and slope of each measure over the rounds after the warm ones; are all flat?"""
    kept = found[int(WARM * len(found)) :]
    memory = [each.memory for each in kept]
    growth = slope(memory) * (len(kept) - 1)
    say(f"{len(found)} rounds in {found[-1].minute:.1f} minutes, of which the last {len(kept)} are measured")
    say(f"memory: {memory[0]:.1f} to {memory[-1]:.1f} MB, slope {1000 * slope(memory):+.1f} kB a round")
    flat = growth <= FLAT * memory[0]
    for name in ("files", "threads"):
        values = [float(getattr(each, name)) for each in kept]
        say(f"{name}: {values[0]:.0f} to {values[-1]:.0f}, slope {slope(values):+.4f} a round")
        flat = flat and max(values) - min(values) <= 1
    return flat


def in_own_processes(folder: Path, seconds: float, say: Callable[[str], None]) -> bool:
    """Each stage in a process of its own, over and over: the peak of each stage must not grow with what is on disk."""
    start, peaks = time.monotonic(), dict[str, list[float]]()
    line = [("teach", "--teacher", "tiny", "--device", "cpu"), ("distill", "--device", "cpu"), ("evaluate",)]
    files_before = 0
    with commands(folder, ROOT) as served:
        while time.monotonic() - start < seconds:
            for arguments in line:
                ended = served.run(*arguments)
                if ended.code:
                    sys.exit(f"{arguments[0]}: exit code {ended.code}: {ended.said[-1000:]}")
                peaks.setdefault(arguments[0], []).append(ended.peak)
            files = sum(1 for _ in (folder / "data").rglob("*"))
            files_before = files_before or files
    flat = files == files_before
    say(
        f"\n{len(peaks['teach'])} rounds, each stage in a process of its own; files in data/: {files_before} to {files}"
    )
    for stage, values in peaks.items():
        say(f"{stage}: peak {values[0]:.1f} to {values[-1]:.1f} MB, slope {1000 * slope(values):+.1f} kB a round")
        flat = flat and slope(values) * (len(values) - 1) <= FLAT * values[0]
    return flat


def main() -> None:
    """Run both halves, print the slopes, keep the samples; exit code 1 where something grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--record", type=Path, help="a CSV file for the samples of the first half")
    asked = parser.parse_args()
    record = asked.record and asked.record.absolute()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder = Path(place)
        make_project(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters()))
        os.chdir(folder)
        found = in_one_process(30 * asked.minutes, lambda line: None)
        flat = judged(found, print)
        if record:
            with record.open("w", newline="") as stream:
                rows = csv.writer(stream, lineterminator="\n")
                rows.writerow([field.name for field in fields(Sample)])
                rows.writerows([[f"{value:.6g}" for value in astuple(each)] for each in found])
        flat = in_own_processes(folder, 30 * asked.minutes, print) and flat
        os.chdir(ROOT)
    print("flat" if flat else "GROWS")
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
