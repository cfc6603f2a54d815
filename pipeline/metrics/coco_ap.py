"""COCO's keypoint average precision (OKS) through pycocotools. Runs no network."""

import contextlib
import io
from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.coco import PERSON_CATEGORY
from pipeline.metrics.ap_resampled import Matches, matches_of_evaluation
from pipeline.people.people import People
from pipeline.people.poses import Poses, keypoints_as
from pipeline.pose.skeletons import Skeleton

METRIC_NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""Names in the order of pycocotools' `summarize` for keypoints."""

MISSING_POSITION = 1e7
"""Position in pixels, x and y, of a keypoint that is not predicted: so far away that its similarity is 0."""


def keypoint_ap(truth: People, poses: Poses, keypoints: tuple[str, ...] | None = None) -> dict[str, float]:
    """Return METRIC_NAMES with values in 0-1, NaN where no person of the truth counts.

    They are over the truth's keypoints, or over `keypoints`, with the sigmas of its skeleton. All rows of the truth take part:
    poses matched to crowds and to people without an evaluated label are ignored, as COCO does. Images are those of the truth
    and of the poses, so that a pose on an image without people is false. Keypoints are matched by name. A keypoint that the
    predicting skeleton lacks, or that is NaN, is missing: it is too far away to score, and the pose's area leaves it out.
    UserError on keypoints that the truth lacks, and on scores that are not finite.
    """
    return keypoint_evaluation(truth, poses, keypoints)[0]


def keypoint_evaluation(
    truth: People, poses: Poses, keypoints: tuple[str, ...] | None = None
) -> tuple[dict[str, float], Matches]:
    """Return the values of `keypoint_ap`, and the matches that its AP is computed from."""
    from pipeline.metrics.oks import FastCOCOeval  # loads pycocotools

    evaluated = Skeleton("evaluated", truth.skeleton.keypoints if keypoints is None else tuple(keypoints))
    lacking = [k for k in evaluated.keypoints if k not in truth.skeleton.keypoints]
    if lacking:
        raise UserError(f"evaluated keypoints: expected ones of {truth.skeleton.name}, found {', '.join(lacking)}")
    if not np.isfinite(poses.score).all():
        row = int(np.flatnonzero(~np.isfinite(poses.score))[0])
        raise UserError(f"scores of poses: expected finite numbers, found {poses.score[row]} in row {row}")
    image_ids = sorted({*truth.image_id.tolist(), *poses.image_id.tolist()})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress and its table
        evaluation = FastCOCOeval(
            coco_index(truth_annotations(truth, evaluated), image_ids),
            coco_index(pose_annotations(poses, evaluated), image_ids),
            "keypoints",
        )
        evaluation.params.kpt_oks_sigmas = truth.skeleton.sigmas[evaluated.positions_in(truth.skeleton)]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) if value >= 0 else float("nan") for value in evaluation.stats]
    return dict(zip(METRIC_NAMES, values, strict=True)), matches_of_evaluation(evaluation)


def coco_index(annotations: list[dict[str, Any]], image_ids: list[int]) -> Any:
    """Return a pycocotools COCO object of these annotations."""
    from pycocotools.coco import COCO

    coco = COCO()
    images = [{"id": image_id} for image_id in image_ids]
    coco.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": PERSON_CATEGORY, "name": "person"}],
    }
    coco.createIndex()
    return coco


def truth_annotations(truth: People, evaluated: Skeleton) -> list[dict[str, Any]]:
    """Return COCO annotations of all people, restricted to the evaluated keypoints."""
    positions = evaluated.positions_in(truth.skeleton)
    labelled = truth.labelled[:, positions]
    triplets = np.dstack([truth.keypoints[:, positions], 2.0 * labelled]).reshape(len(truth), 3 * len(evaluated))
    return [
        {
            "id": row + 1,  # pycocotools takes a match with id 0 for none
            "image_id": int(truth.image_id[row]),
            "category_id": PERSON_CATEGORY,
            "bbox": truth.box[row].tolist(),
            "area": float(truth.area[row]),
            "iscrowd": int(truth.crowd[row]),
            "num_keypoints": int(labelled[row].sum()),
            "keypoints": triplets[row].tolist(),
        }
        for row in range(len(truth))
    ]


def pose_annotations(poses: Poses, evaluated: Skeleton) -> list[dict[str, Any]]:
    """Return COCO results. Their area is that of the box around the predicted keypoints, as in pycocotools' `loadRes`."""
    points = keypoints_as(poses, evaluated.keypoints)
    missing = ~np.isfinite(points).all(axis=2, keepdims=True)
    low = np.where(missing, np.inf, points).min(axis=1)
    high = np.where(missing, -np.inf, points).max(axis=1)
    side = np.where(missing.all(axis=1), 0.0, high - np.where(np.isfinite(low), low, 0.0))
    triplets = np.dstack([np.where(missing, MISSING_POSITION, points), np.ones(points.shape[:2])]).reshape(
        len(poses), 3 * len(evaluated)
    )
    return [
        {
            "id": row + 1,
            "image_id": int(poses.image_id[row]),
            "category_id": PERSON_CATEGORY,
            "score": float(poses.score[row]),
            "area": float(side[row, 0] * side[row, 1]),
            "keypoints": triplets[row].tolist(),
        }
        for row in range(len(poses))
    ]
