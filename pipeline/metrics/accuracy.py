"""Scores of a dataset by name: by AP, by PCKh or by PCK of the torso; also on a skeleton that no student was trained on."""

from dataclasses import replace

import numpy as np

from pipeline.metrics.ap_resampled import average_precision
from pipeline.metrics.bootstrap import Resamples, Score, draw_resamples
from pipeline.metrics.coco_ap import METRIC_NAMES, keypoint_ap, keypoint_evaluation
from pipeline.metrics.pck import error_score, pck_score
from pipeline.metrics.pckh import IN_MEAN, correct_keypoints_of_people, pckh_of_people, pckh_scores
from pipeline.metrics.score_names import SCORE_NAMES, WEIGHTED_SUFFIX
from pipeline.metrics.torso_pck import TORSO_THRESHOLD, torso_pck_score
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import COCO17, MPII16, SIGMAS, Skeleton

PCKH_THRESHOLDS = (0.5, 0.1)
"""Distances in head sizes up to which a keypoint is correct."""


def accuracy(kind: ScoreKind, truth: People, poses: Poses) -> tuple[str, float]:
    """Return name and value, 0 to 100, of the score of that kind."""
    if kind == "ap":
        return SCORE_NAMES["ap"], 100 * keypoint_ap(truth, poses)["AP"]
    if kind == "pck":
        no_resamples = draw_resamples(truth.image_id, 0, [0])
        return SCORE_NAMES["pck"], torso_pck_score(truth, poses, no_resamples).value
    return SCORE_NAMES["pckh"], pckh_of_people(truth, poses).mean


def resampled_scores(
    kind: ScoreKind, trained_on: bool, truth: People, poses: Poses, student: Skeleton, resamples: Resamples
) -> dict[str, Score]:
    """Return all scores of a dataset by name, 0 to 100. All but AP50 to ARL are resampled over the truth's images.

    `trained_on` tells whether students learn from the dataset. Of other datasets only the keypoints count that they share with
    `student`, the unified skeleton. NME is in percent of the longer box side.
    """
    shared = tuple(k for k in truth.skeleton.keypoints if k in student.keypoints)
    has_all = trained_on or len(shared) == len(truth.skeleton)
    if kind == "pckh":
        scores = pckh_by_threshold(truth, poses, resamples)
    elif kind == "pck":
        name = SCORE_NAMES["pck"] if has_all else f"PCK-{len(shared)}@{TORSO_THRESHOLD} torso"
        missed = missed_keypoints(truth, poses, None if has_all else shared)
        scores = {name: replace(torso_pck_score(truth, poses, resamples, None if has_all else shared), missed=missed)}
    elif has_all:
        scores = ap_scores(truth, poses, resamples)
    else:
        scores = ap_of_shared_keypoints(truth, poses, student, resamples)
    pck = replace(pck_score(truth, poses, resamples).scaled(100), missed=missed_keypoints(truth, poses))
    return {**scores, "PCK@0.1": pck, "NME": error_score(truth, poses, resamples).scaled(100)}


def missed_keypoints(truth: People, poses: Poses, keypoints: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return those of the keypoints, by default of all, that somebody in use is labelled with and that the poses' skeleton lacks."""
    labelled = truth.labelled[truth.use].any(axis=0)
    names = [k for k, known in zip(truth.skeleton.keypoints, labelled, strict=True) if known]
    return tuple(k for k in names if (keypoints is None or k in keypoints) and k not in poses.skeleton.keypoints)


def ap_scores(
    truth: People, poses: Poses, resamples: Resamples, keypoints: tuple[str, ...] | None = None
) -> dict[str, Score]:
    """Return the scores of pipeline.metrics.coco_ap.METRIC_NAMES, 0 to 100; AP is resampled."""
    metrics, matches = keypoint_evaluation(truth, poses, keypoints)
    resampled = {METRIC_NAMES[0]: average_precision(matches, resamples)}
    missed = missed_keypoints(truth, poses, keypoints)
    return {name: Score(value, resampled.get(name, np.zeros(0)), missed).scaled(100) for name, value in metrics.items()}


def pckh_by_threshold(truth: People, poses: Poses, resamples: Resamples) -> dict[str, Score]:
    """Return the PCKh, 0 to 100, at PCKH_THRESHOLDS, each by the unweighted and by the weighted mean."""
    scores: dict[str, Score] = {}
    in_mean = tuple(k for k, counts in zip(MPII16.keypoints, IN_MEAN, strict=True) if counts)
    missed = missed_keypoints(truth, poses, in_mean)
    for threshold in PCKH_THRESHOLDS:
        correct, counted = correct_keypoints_of_people(truth, poses, threshold)
        mean, weighted = pckh_scores(correct, counted, truth.image_id[truth.use], resamples)
        both = {f"PCKh@{threshold}": mean, f"PCKh@{threshold}{WEIGHTED_SUFFIX}": weighted}
        scores |= {name: replace(score, missed=missed) for name, score in both.items()}
    return scores


def ap_of_shared_keypoints(truth: People, poses: Poses, student: Skeleton, resamples: Resamples) -> dict[str, Score]:
    """Return the AP, 0 to 100, on a skeleton that no student was trained on. It shares at least one keypoint with the student's.

    It is over all keypoints that the skeleton shares with the student's, over those of them that COCO has, and, where the
    skeleton has a neck and no thorax, over the shared ones and the student's thorax, taken for the neck.
    """
    shared = tuple(k for k in truth.skeleton.keypoints if k in student.keypoints)
    coco = tuple(k for k in shared if k in COCO17.keypoints)
    subsets = dict.fromkeys(subset for subset in (coco, shared) if subset)
    scores = {f"AP-{len(subset)}": ap_scores(truth, poses, resamples, subset)["AP"] for subset in subsets}
    if "thorax" in student.keypoints and "thorax" not in truth.skeleton.keypoints and "upper_neck" in shared:
        neck = truth.skeleton.index("upper_neck")
        as_neck = replace(
            truth,
            skeleton=_with_thorax(truth.skeleton),
            keypoints=np.concatenate([truth.keypoints, truth.keypoints[:, neck : neck + 1]], axis=1),
            labelled=np.concatenate([truth.labelled, truth.labelled[:, neck : neck + 1]], axis=1),
        )
        with_thorax = ap_scores(as_neck, poses, resamples, (*shared, "thorax"))
        scores[f"AP-{len(shared) + 1} (thorax as neck)"] = with_thorax["AP"]
    return scores


def _with_thorax(skeleton: Skeleton) -> Skeleton:
    """Return the skeleton with a thorax, whose sigma is that of SIGMAS, at its end."""
    own = (*skeleton.own_sigmas, SIGMAS["thorax"]) if skeleton.own_sigmas else ()
    return replace(skeleton, name="thorax read as neck", keypoints=(*skeleton.keypoints, "thorax"), own_sigmas=own)
