"""A teacher's poses of annotated people, decoded from its store. No teacher file is opened, no accuracy told."""

from collections.abc import Callable

import numpy as np

from cache.targets import TargetStore
from pipeline.outputs import keypoints
from pipeline.people.people import People
from pipeline.scores.poses import Poses, poses_of
from pipeline.spec import NetworkSpec


def decoded_poses(
    store: TargetStore, spec: NetworkSpec, people: People, advance: Callable[[int], object] = int
) -> Poses:
    """Poses of the people in use from view 0, the plain one; `advance` counts the store's rows, which are the people's."""
    count = len(spec.skeleton)
    found, confidence = [np.empty((0, count, 2))], [np.empty((0, count))]
    for boundary in range(store.layout.boundaries):
        rows = store.layout.rows(boundary)
        use = people.use[rows]
        if use.any():
            block = store.read(rows, view=0)
            found.append(keypoints(block.maps(use, 0), block.image_from_target[use, 0], spec))
            confidence.append(block.score[use, 0].astype(np.float64))
        advance(len(use))
    return poses_of(people.rows(people.use), spec.skeleton, np.concatenate(found), np.concatenate(confidence))
