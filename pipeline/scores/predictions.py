"""Readers of other people's predictions: COCO keypoint results in JSON, MPII's `preds` in MATLAB or HDF5 files."""

import importlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.people.coco import PERSON, read_coco, read_coco_pictures
from pipeline.people.matlab import read_mat
from pipeline.people.mpii import FIRST_PIXEL
from pipeline.people.parse import Phrase, fail, field, number, numbers, read_bytes, read_json, reason, whole
from pipeline.scores.coco import keypoint_ap
from pipeline.scores.poses import Poses
from pipeline.skeletons import COCO17, MPII16, Skeleton

FilePath = str | os.PathLike[str]

HDF5 = (".h5", ".hdf5")


def read_results(path: FilePath, skeletons: Sequence[Skeleton] = (COCO17,)) -> Poses:
    """The poses of a COCO keypoint results file: image_id, category_id, keypoints (x, y, confidence), score.

    In the skeleton of `skeletons` that has as many keypoints as the first pose (the first of them for an empty file).
    UserError on anything malformed.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of poses", document)
    rows = [
        (row, entry) for row, entry in enumerate(document) if field(entry, "category_id", (path, "pose", row)) == PERSON
    ]
    skeleton = _skeleton_of(rows, path, skeletons) if len(skeletons) > 1 else skeletons[0]
    image_id, score, triplets = [], [], []
    for row, entry in rows:
        where = (path, "pose", row)
        image_id.append(whole(field(entry, "image_id", where), where, "`image_id`"))
        score.append(number(field(entry, "score", where), where, "`score`"))
        triplets.append(numbers(field(entry, "keypoints", where), 3 * len(skeleton), where, "`keypoints`"))
    points = np.array(triplets).reshape(-1, len(skeleton), 3)
    return Poses(
        skeleton=skeleton,
        image_id=np.array(image_id, np.int64),
        keypoints=points[..., :2],
        confidence=points[..., 2],
        score=np.array(score, np.float64),
        person=np.full(len(points), -1, np.int64),
    )


def refuse_unknown_pictures(poses: Poses, known: Collection[int], path: FilePath, truth: FilePath) -> None:
    """UserError for a pose on a picture that the truth does not have, as pycocotools' `loadRes` refuses it."""
    unknown = [image_id for image_id in poses.image_id.tolist() if image_id not in known]
    if unknown:
        fail(str(path), f"poses on the pictures of {truth}", Phrase(f"image_id {unknown[0]}"))


def keypoint_ap_files(truth_json: FilePath, results_json: FilePath, skeleton: Skeleton = COCO17) -> dict[str, float]:
    """`keypoint_ap` of a COCO truth file and a COCO results file; UserError on malformed files or unknown pictures."""
    poses = read_results(results_json, (skeleton,))
    refuse_unknown_pictures(poses, read_coco_pictures(truth_json), results_json, truth_json)
    return keypoint_ap(read_coco(truth_json, skeleton), poses)


def read_mpii_predictions(path: FilePath) -> np.ndarray:
    """Float64 (N, 16, 2): MPII16's keypoints in image pixels, 0-based, of a file's `preds`, which is 1-based like the truth.

    A `.mat` up to MATLAB 7, or `.h5` where h5py is installed; `preds` is (N, 16, 2) or (2, 16, N), as
    anibali/eval-mpii-pose takes it. Values that are not finite stay, as missing. UserError on anything else.
    """
    found = _hdf5(path) if Path(path).suffix.lower() in HDF5 else np.asarray(field(read_mat(path), "preds", str(path)))
    k = len(MPII16)
    if (
        found.dtype.kind not in "iuf"
        or found.ndim != 3
        or k != found.shape[1]
        or 2 not in (found.shape[0], found.shape[2])
    ):
        fail((path, "`preds`"), f"numbers of shape (N, {k}, 2) or (2, {k}, N)", Phrase(f"{found.dtype} {found.shape}"))
    ordered = found if found.shape[2] == 2 else found.transpose(2, 1, 0)
    return ordered.astype(np.float64) - FIRST_PIXEL


def _skeleton_of(rows: list[tuple[int, Any]], path: FilePath, skeletons: Sequence[Skeleton]) -> Skeleton:
    if not rows:
        return skeletons[0]
    row, entry = rows[0]
    count = len(numbers(field(entry, "keypoints", (path, "pose", row)), None, (path, "pose", row), "`keypoints`"))
    for skeleton in skeletons:
        if count == 3 * len(skeleton):
            return skeleton
    known = ", ".join(f"{3 * len(skeleton)} ({skeleton.name})" for skeleton in skeletons)
    fail((path, "pose", row), f"`keypoints` to hold {known} numbers", Phrase(str(count)))


def _hdf5(path: FilePath) -> np.ndarray:
    read_bytes(path)
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise UserError(
            f"{path}: HDF5 is read through h5py, which is not installed: `pip install h5py`, or save `preds` as a .mat file"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["preds"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: expected an HDF5 file with `preds`, found {reason(error)}") from error
