"""Small stores for the tests of `cache`: their content follows from row, view and keypoint by hand-written formulas."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache.targets import TargetLayout
from cache.writer import finish, open_for_writing, write_shard
from pipeline.targets.block import TargetBlock

LAYOUT = TargetLayout(people=41, views=2, keypoints=3, height=4, width=5, people_per_shard=16)
"""Two whole shards and one of 9 people."""

SEPARATE = replace(LAYOUT, height=6, separate=True)
"""The same people's targets as bins: 5 of x, 6 of y."""

IDS = 1000 + 3 * np.arange(LAYOUT.people)


def fingerprint(layout: TargetLayout = LAYOUT, **changes: Any) -> dict[str, Any]:
    return layout.fingerprint({"teacher": "a" * 64, "people": "b" * 64, **changes})


def content(rows: slice, layout: TargetLayout = LAYOUT) -> TargetBlock:
    """What the test stores hold in those rows."""
    row, view, keypoint = np.ogrid[rows.start : rows.stop, 0 : layout.views, 0 : layout.keypoints]
    first = row * 7 + view * 31 + keypoint * 5
    pixel = np.arange(layout.height * layout.width).reshape(layout.height, layout.width)
    if layout.separate:
        parts = {
            "x": first[..., None] + np.arange(layout.width) * 13,
            "y": first[..., None] + np.arange(layout.height) * 11,
        }
    else:
        parts = {"heatmaps": first[..., None, None] + pixel * 13}
    affine = np.array([[4.0, 0.0, 10.0], [0.0, 4.0, 20.0]]) + (row * 2.0 + view)[..., None] / 8
    return TargetBlock(
        person=IDS[rows],
        levels={name: (values % 256).astype(np.uint8) for name, values in parts.items()},
        peak=((row + view + keypoint + 1) / 64).astype(np.float16),
        score=((row + 2 * view + keypoint) / 128).astype(np.float16),
        image_from_target=affine,
    )


def write(path: Path, shards: list[int] | None = None, layout: TargetLayout = LAYOUT, **changes: Any) -> str:
    """Open for writing, write what is pending (or only those shards, unfinished); the plan's reason."""
    marks = fingerprint(layout, **changes)
    plan = open_for_writing(path, layout, marks)
    for shard in plan.pending if shards is None else shards:
        write_shard(path, layout, shard, content(layout.rows(shard), layout).arrays)
    if shards is None:
        finish(path, layout, marks)
    return plan.reason
