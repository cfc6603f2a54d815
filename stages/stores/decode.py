"""Decodes a teacher's keypoints of annotated people from view 0, the plain one, of its store. Needs no teacher's file."""

from collections.abc import Callable, Iterable

import numpy as np

from cache.targets import TargetStore
from pipeline.people.people import People
from pipeline.people.poses import Poses, poses_of
from pipeline.pose.outputs import decode_keypoints
from pipeline.pose.spec import NetworkSpec


def decode_rows(
    store: TargetStore, spec: NetworkSpec, rows: slice, which: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints float64 (P, K, 2) in image pixels, NaN if there is none, and confidences float64 (P, K) of view 0.

    `which`: positions or a mask within `rows`; by default all of them.
    """
    block = store.read(rows, view=0)
    keypoints = decode_keypoints(block.maps(which, 0), block.image_from_target[which, 0], spec)
    return keypoints, block.score[which, 0].astype(np.float64)


def decoded_poses(
    store: TargetStore,
    spec: NetworkSpec,
    people: People,
    advance: Callable[[int], object] = int,
    shards: Iterable[int] | None = None,
) -> Poses:
    """Return the poses of the people in use, in all shards or in some. `people` are those of the whole store.

    `advance` is called after each shard with its number of rows.
    """
    count = len(spec.skeleton)
    used, points, scores = [np.empty(0, int)], [np.empty((0, count, 2))], [np.empty((0, count))]
    for shard in range(store.layout.shards) if shards is None else shards:
        rows = store.layout.rows(shard)
        use = people.use[rows]
        if use.any():
            keypoints, confidence = decode_rows(store, spec, rows, use)
            used.append(np.flatnonzero(use) + rows.start)
            points.append(keypoints)
            scores.append(confidence)
        advance(len(use))
    return poses_of(people.rows(np.concatenate(used)), spec.skeleton, np.concatenate(points), np.concatenate(scores))
