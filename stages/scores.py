"""Which scores a dataset is judged by, and poses as the scores want them. The scores themselves are in pipeline.scores."""

from dataclasses import replace

import numpy as np

from pipeline.people.people import People
from pipeline.scores.coco import keypoint_ap, person_score
from pipeline.scores.mpii import pckh_people
from pipeline.scores.pck import pck
from pipeline.scores.poses import Poses
from pipeline.skeletons import COCO17, Skeleton
from stages.datasets import DatasetSettings

SCORE_NAMES = {"ap": "AP", "pckh": "PCKh@0.5"}


def poses_of(people: People, skeleton: Skeleton, keypoints: np.ndarray, confidence: np.ndarray) -> Poses:
    """One pose per person, ranked by its keypoints' confidence: keypoints (N, K, 2) in image pixels, confidence (N, K)."""
    return Poses(skeleton, people.image_id, keypoints, confidence, person_score(confidence), people.person)


def accuracy(dataset: DatasetSettings, truth: People, poses: Poses) -> tuple[str, float]:
    """Name and value, 0 to 100, of what the dataset is judged by."""
    name = SCORE_NAMES[dataset.score]
    return name, _own_scores(dataset, truth, poses)[name]


def all_scores(dataset: DatasetSettings, truth: People, poses: Poses, student: Skeleton) -> dict[str, float]:
    """Every score of a dataset by name, 0 to 100; `student` is the unified skeleton."""
    scores = _own_scores(dataset, truth, poses) if dataset.train else _shared_ap(truth, poses, student)
    return {**scores, "PCK@0.1": 100 * pck(truth, poses).mean}


def _own_scores(dataset: DatasetSettings, truth: People, poses: Poses) -> dict[str, float]:
    if dataset.score == "ap":
        return {key: 100 * value for key, value in keypoint_ap(truth, poses).items()}
    return {f"PCKh@{threshold}": pckh_people(truth, poses, threshold).mean for threshold in (0.5, 0.1)}


def _shared_ap(truth: People, poses: Poses, student: Skeleton) -> dict[str, float]:
    """AP on a skeleton that nobody was trained on: over all it shares with the student's, over COCO's part of that, and,
    where it has a neck and no thorax, over one more with the thorax read as its neck."""
    shared = tuple(k for k in truth.skeleton.keypoints if k in student.keypoints)
    coco = tuple(k for k in shared if k in COCO17.keypoints)
    subsets = dict.fromkeys((coco, shared))
    scores = {f"AP-{len(subset)}": 100 * keypoint_ap(truth, poses, subset)["AP"] for subset in subsets}
    if "thorax" in student.keypoints and "thorax" not in truth.skeleton.keypoints and "upper_neck" in shared:
        neck = truth.skeleton.index("upper_neck")
        as_neck = replace(
            truth,
            skeleton=Skeleton("thorax read as neck", (*truth.skeleton.keypoints, "thorax")),
            keypoints=np.concatenate([truth.keypoints, truth.keypoints[:, neck : neck + 1]], axis=1),
            labelled=np.concatenate([truth.labelled, truth.labelled[:, neck : neck + 1]], axis=1),
        )
        scores[f"AP-{len(shared) + 1} (thorax as neck)"] = 100 * keypoint_ap(as_neck, poses, (*shared, "thorax"))["AP"]
    return scores
