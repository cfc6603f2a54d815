"""People without a file behind them."""

import numpy as np
import pytest

from pipeline.people.people import People
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton


@pytest.fixture
def make_people():
    """People with the given keypoints (N, K, 2), NaN = not labelled, in boxes of 100 x 200, one to a picture."""

    def make(skeleton: Skeleton, keypoints, **others) -> People:
        keypoints = np.array(keypoints, float)
        n = len(keypoints)
        labelled = ~np.isnan(keypoints).any(axis=2)
        arrays = {
            "person": np.arange(n) + 10,
            "image": np.array([f"{i}.jpg" for i in range(n)]),
            "image_id": np.arange(n) + 500,
            "image_wh": np.zeros((n, 2), np.int32),
            "box": np.tile([0.0, 0, 100, 200], (n, 1)),
            "area": np.full(n, 20_000.0),
            "crowd": np.zeros(n, bool),
            "use": labelled.any(axis=1),
            "keypoints": np.nan_to_num(keypoints),
            "labelled": labelled,
            "head_box": np.full((n, 4), np.nan),
        }
        return People(skeleton=skeleton, **(arrays | others))

    return make


@pytest.fixture
def make_poses():
    """Poses with the given keypoints (M, K, 2) for people 10, 11, .. on pictures 500, 501, .."""

    def make(skeleton: Skeleton, keypoints, **others) -> Poses:
        keypoints = np.array(keypoints, float)
        m = len(keypoints)
        arrays = {
            "image_id": np.arange(m) + 500,
            "keypoints": keypoints,
            "confidence": np.ones(keypoints.shape[:2]),
            "score": np.ones(m),
            "person": np.arange(m) + 10,
        }
        return Poses(skeleton=skeleton, **(arrays | others))

    return make
