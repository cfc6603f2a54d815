"""The score of each keypoint with its resamples, by which models are compared keypoint by keypoint."""

from dataclasses import replace

from pipeline.metrics.accuracy import missed_keypoints
from pipeline.metrics.bootstrap import Resamples, Score, ratio_score
from pipeline.metrics.pck import relative_distances
from pipeline.metrics.pckh import correct_keypoints_of_people
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import MPII16


def keypoint_scores(kind: ScoreKind, truth: People, poses: Poses, resamples: Resamples) -> tuple[str, dict[str, Score]]:
    """Return the name of the score, and it by keypoint, 0 to 100: PCKh@0.5 of a dataset that is scored by it, else PCK@0.1.

    A keypoint that is not predicted is wrong. NaN where nobody is labelled.
    """
    if kind == "pckh":
        name, keypoints = "PCKh@0.5", MPII16.keypoints
        correct, counted = correct_keypoints_of_people(truth, poses, 0.5)
    else:
        name, keypoints = "PCK@0.1", truth.skeleton.keypoints
        distance, counted = relative_distances(truth, poses)
        correct = counted & (distance <= 0.1)
    images = truth.image_id[truth.use]
    columns = zip(keypoints, correct.T, counted.T, strict=True)
    scores = {k: ratio_score(hits * 1.0, of * 1.0, images, resamples).scaled(100) for k, hits, of in columns}
    return name, {k: replace(score, missed=missed_keypoints(truth, poses, (k,))) for k, score in scores.items()}
