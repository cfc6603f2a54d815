"""The threads that read, crop and write: their number, and a pool of them that ends with its block."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
