"""Which scores a dataset is judged by, and poses as the scores want them. The scores themselves are in pipeline.scores."""

from dataclasses import replace

import numpy as np

from pipeline.people.people import People
from pipeline.scores.accumulate import average_precision
from pipeline.scores.bootstrap import Resamples, Score, resample
from pipeline.scores.coco import METRICS, keypoint_ap, keypoint_evaluation
from pipeline.scores.mpii import marks_of_people, pckh_people, pckh_scores
from pipeline.scores.pck import error_score, pck_score
from pipeline.scores.poses import Poses
from pipeline.skeletons import COCO17, Skeleton
from stages.datasets import DatasetSettings

SCORE_NAMES = {"ap": "AP", "pckh": "PCKh@0.5"}
PCKH_THRESHOLDS = (0.5, 0.1)
WEIGHTED = " weighted"
"""PCKh by HRNet's and MMPose's mean; without it the published, unweighted one."""


def accuracy(dataset: DatasetSettings, truth: People, poses: Poses) -> tuple[str, float]:
    """Name and value, 0 to 100, of what the dataset is judged by."""
    if dataset.score == "ap":
        return SCORE_NAMES["ap"], 100 * keypoint_ap(truth, poses)["AP"]
    return SCORE_NAMES["pckh"], pckh_people(truth, poses).mean


def all_scores(dataset: DatasetSettings, truth: People, poses: Poses, student: Skeleton) -> dict[str, float]:
    """Every score of a dataset by name, 0 to 100; `student` is the unified skeleton."""
    found = resampled_scores(dataset, truth, poses, student, resample(truth.image_id, 0, [0]))
    return {name: score.value for name, score in found.items()}


def resampled_scores(
    dataset: DatasetSettings, truth: People, poses: Poses, student: Skeleton, resamples: Resamples
) -> dict[str, Score]:
    """The same with their resamples, of the truth's pictures; AP50 to ARL have none. NME is in percent of the longer box side."""
    if dataset.score == "pckh":
        own = pckh_of(truth, poses, resamples)
    elif dataset.train or set(truth.skeleton.keypoints) <= set(student.keypoints):
        own = ap_scores(truth, poses, resamples)
    else:
        own = shared_ap(truth, poses, student, resamples)
    return {
        **own,
        "PCK@0.1": pck_score(truth, poses, resamples).times(100),
        "NME": error_score(truth, poses, resamples).times(100),
    }


def ap_scores(
    truth: People, poses: Poses, resamples: Resamples, keypoints: tuple[str, ...] | None = None
) -> dict[str, Score]:
    """pipeline.scores.coco.METRICS, AP with its resamples."""
    metrics, matches = keypoint_evaluation(truth, poses, keypoints)
    again = {METRICS[0]: average_precision(matches, resamples)}
    return {name: Score(value, again.get(name, np.zeros(0))).times(100) for name, value in metrics.items()}


def pckh_of(truth: People, poses: Poses, resamples: Resamples) -> dict[str, Score]:
    """PCKh at both thresholds by both means."""
    found: dict[str, Score] = {}
    for threshold in PCKH_THRESHOLDS:
        marks = marks_of_people(truth, poses, threshold)
        mean, weighted = pckh_scores(*marks, truth.image_id[truth.use], resamples)
        found |= {f"PCKh@{threshold}": mean, f"PCKh@{threshold}{WEIGHTED}": weighted}
    return found


def shared_ap(truth: People, poses: Poses, student: Skeleton, resamples: Resamples) -> dict[str, Score]:
    """AP on a skeleton that nobody was trained on: over all it shares with the student's, over COCO's part of that, and,
    where it has a neck and no thorax, over one more with the thorax read as its neck."""
    shared = tuple(k for k in truth.skeleton.keypoints if k in student.keypoints)
    coco = tuple(k for k in shared if k in COCO17.keypoints)
    subsets = dict.fromkeys((coco, shared))
    scores = {f"AP-{len(subset)}": ap_scores(truth, poses, resamples, subset)["AP"] for subset in subsets}
    if "thorax" in student.keypoints and "thorax" not in truth.skeleton.keypoints and "upper_neck" in shared:
        neck = truth.skeleton.index("upper_neck")
        as_neck = replace(
            truth,
            skeleton=Skeleton("thorax read as neck", (*truth.skeleton.keypoints, "thorax")),
            keypoints=np.concatenate([truth.keypoints, truth.keypoints[:, neck : neck + 1]], axis=1),
            labelled=np.concatenate([truth.labelled, truth.labelled[:, neck : neck + 1]], axis=1),
        )
        found = ap_scores(as_neck, poses, resamples, (*shared, "thorax"))
        scores[f"AP-{len(shared) + 1} (thorax as neck)"] = found["AP"]
    return scores
