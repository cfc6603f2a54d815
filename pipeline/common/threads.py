"""The threads that read, crop and write: their number, and a pool of them that ends with its block."""

import contextlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where a process of Linux, in a container too, sees its own limits."""


def cores() -> int:
    """Return the number of cores that this process may use: by its affinity (taskset, Slurm), its quota (a container's --cpus), and
    OMP_NUM_THREADS, which those set who run several processes side by side."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    if (quota := _quota()) is not None:
        limits.append(math.ceil(quota))
    if (threads := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]).isdecimal():
        limits.append(int(threads))
    return max(1, min(limits))


def _quota() -> float | None:
    """Return how many cores' time the control group of this process has; None where it has no limit, or there is none."""
    try:
        limit, period = (CONTROL_GROUP / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            limit, period = ((CONTROL_GROUP / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return float(limit) / float(period) if float(limit) > 0 else None
    except (ValueError, ZeroDivisionError):  # `max` is no limit
        return None


@contextlib.contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Provide a pool of `count` threads for the body of `with`, at whose end waiting work is dropped and running work awaited.

    OpenCV starts no threads of its own meanwhile: with a thread per core already busy, they would only compete.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(count, "images")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(before)
