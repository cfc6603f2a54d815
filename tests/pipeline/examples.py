"""People and network specs without files behind them, for the tests of `pipeline`."""

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.people.people import People
from pipeline.pose.skeletons import COCO17, Skeleton
from pipeline.pose.spec import NetworkSpec

SPEC = NetworkSpec(
    skeleton=COCO17,
    input_wh=(96, 128),
    color="rgb",
    mean=(120.0, 115.0, 100.0),
    std=(60.0, 50.0, 40.0),
    padding=1.25,
    affine="udp",
    kind="heatmap_logits",
)


def spec(**changes: Any) -> NetworkSpec:
    return replace(SPEC, **changes)


def people(count: int, skeleton: Skeleton = COCO17, seed: int = 0, **others: Any) -> People:
    """So many people with every keypoint labelled, anywhere inside their boxes, in pictures of 300 x 200, two to a picture."""
    random = np.random.default_rng(seed)
    box = np.column_stack([random.uniform(0, 150, (count, 2)), random.uniform(30, 90, (count, 2))])
    arrays = {
        "person": 100 + 7 * np.arange(count),
        "image": np.array([f"{i // 2:03d}.png" for i in range(count)], dtype=object),
        "image_id": np.arange(count) // 2,
        "image_wh": np.tile(np.array([300, 200], np.int32), (count, 1)),
        "box": box,
        "area": box[:, 2] * box[:, 3],
        "crowd": np.zeros(count, bool),
        "use": np.ones(count, bool),
        "keypoints": box[:, None, :2] + random.uniform(0, 1, (count, len(skeleton), 2)) * box[:, None, 2:],
        "labelled": np.ones((count, len(skeleton)), bool),
        "head_box": np.full((count, 4), np.nan),
    }
    return People(skeleton=skeleton, **(arrays | others))
