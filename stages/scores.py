"""Which score a dataset is judged by, and poses as the scores want them. The scores themselves are in pipeline.scores."""

import numpy as np

from pipeline.people.people import People
from pipeline.scores.coco import keypoint_ap, person_score
from pipeline.scores.mpii import pckh_people
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton
from stages.datasets import DatasetSettings

SCORE_NAMES = {"ap": "AP", "pckh": "PCKh@0.5"}


def poses_of(people: People, skeleton: Skeleton, keypoints: np.ndarray, confidence: np.ndarray) -> Poses:
    """One pose per person, ranked by its keypoints' confidence: keypoints (N, K, 2) in image pixels, confidence (N, K)."""
    return Poses(skeleton, people.image_id, keypoints, confidence, person_score(confidence), people.person)


def accuracy(dataset: DatasetSettings, truth: People, poses: Poses) -> tuple[str, float]:
    """Name and value, 0 to 100, of what the dataset is judged by."""
    if dataset.score == "ap":
        return SCORE_NAMES["ap"], 100 * keypoint_ap(truth, poses)["AP"]
    return SCORE_NAMES["pckh"], pckh_people(truth, poses).mean
