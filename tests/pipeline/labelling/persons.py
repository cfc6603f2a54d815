"""Hand-made people and predictions for the tests of `pipeline.labelling`: boxes of 100 x 100, so that the OKS scale is 50."""

import numpy as np

from pipeline.labelling.consensus import Predictions
from pipeline.people.people import People
from pipeline.pose.skeletons import COCO17
from tests.pipeline.examples import people

WRIST = COCO17.index("left_wrist")
WRIST_TOLERANCE = 2 * 0.062 * 50


def persons(count: int = 1, **others) -> People:
    """So many in one image of 300 x 200, all keypoints labelled 30 to 70 px from each other's neighbours."""
    box = np.tile([20.0, 20.0, 100.0, 100.0], (count, 1))
    at = np.arange(17)
    points = np.stack([20 + 25 * (at % 5), 20 + 25 * (at // 5)], axis=1).astype(float)
    shift = np.stack([9.0 * np.arange(count), np.zeros(count)], axis=1)
    values = {
        "box": box,
        "area": box[:, 2] * box[:, 3],
        "keypoints": points[None] + shift[:, None],
        "image_id": np.zeros(count, np.int64),
        "image": np.array(["000.png"] * count, np.str_),
    }
    return people(count, **{**values, **others})


def predicting(*keypoints: np.ndarray, confidence: float | list[float] = 0.9) -> Predictions:
    """Predictions (N, K, 2) of networks a, b, ..., all with one confidence, or with one each; NaN is no keypoint."""
    each = np.broadcast_to(np.asarray(confidence, float), len(keypoints))
    points = np.stack(keypoints)
    sure = np.where(np.isfinite(points).all(axis=-1), each[:, None, None], 0.0)
    return Predictions(tuple("abcdef"[: len(keypoints)]), points, sure)
