"""Small stores for the tests of `cache`: their content follows from row, view and keypoint by hand-written formulas."""

from pathlib import Path
from typing import Any

import numpy as np

from cache.layout import Layout, fingerprint_of
from cache.writer import finish, open_for_writing, write_boundary
from pipeline.targets.block import TargetBlock

LAYOUT = Layout(people=41, views=2, keypoints=3, height=4, width=5, boundary=16)
"""Two whole boundaries and one of 9 people."""

IDS = 1000 + 3 * np.arange(LAYOUT.people)


def fingerprint(**changes: Any) -> dict[str, Any]:
    return fingerprint_of(LAYOUT, {"teacher": "a" * 64, "people": "b" * 64, **changes})


def content(rows: slice) -> TargetBlock:
    """What the test stores hold in those rows."""
    row, view, keypoint = np.ogrid[rows.start : rows.stop, 0 : LAYOUT.views, 0 : LAYOUT.keypoints]
    pixel = np.arange(LAYOUT.height * LAYOUT.width).reshape(LAYOUT.height, LAYOUT.width)
    levels = (row * 7 + view * 31 + keypoint * 5)[..., None, None] + pixel * 13
    affine = np.array([[4.0, 0.0, 10.0], [0.0, 4.0, 20.0]]) + (row * 2.0 + view)[..., None] / 8
    return TargetBlock(
        person=IDS[rows],
        levels=(levels % 256).astype(np.uint8),
        peak=((row + view + keypoint + 1) / 64).astype(np.float16),
        score=((row + 2 * view + keypoint) / 128).astype(np.float16),
        image_from_target=affine,
    )


def write(path: Path, boundaries: list[int] | None = None, **changes: Any) -> str:
    """Open for writing, write what is pending (or only those boundaries, unfinished); the plan's reason."""
    marks = fingerprint(**changes)
    plan = open_for_writing(path, LAYOUT, marks)
    for boundary in plan.pending if boundaries is None else boundaries:
        write_boundary(path, LAYOUT, boundary, content(LAYOUT.rows(boundary)))
    if boundaries is None:
        finish(path, LAYOUT, marks)
    return plan.reason
