"""Reads predictions of other projects: COCO keypoint results in JSON, MPII's `preds` in MATLAB or HDF5 files."""

import importlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.datasets.coco import PERSON_CATEGORY
from pipeline.datasets.matlab import read_mat
from pipeline.datasets.mpii import FIRST_PIXEL
from pipeline.people.poses import Poses
from pipeline.people.validation import Phrase, fail, field, number, numbers, read_bytes, read_json, reason, whole_number
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton

HDF5_SUFFIXES = (".h5", ".hdf5")


def read_coco_results(path: FilePath, skeletons: Sequence[Skeleton] = (COCO17,)) -> Poses:
    """Read a COCO keypoint results file: a list of image_id, category_id, keypoints (x, y, confidence) and score.

    The poses are in the first of `skeletons` that has as many keypoints as the first pose. UserError on anything malformed.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of poses", document)
    rows = [
        (row, entry)
        for row, entry in enumerate(document)
        if field(entry, "category_id", (path, "pose", row)) == PERSON_CATEGORY
    ]
    skeleton = _skeleton_of(rows, path, skeletons) if len(skeletons) > 1 else skeletons[0]
    image_id, score, triplets = [], [], []
    for row, entry in rows:
        where = (path, "pose", row)
        image_id.append(whole_number(field(entry, "image_id", where), where, "`image_id`"))
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


def refuse_unknown_images(poses: Poses, known: Collection[int], path: FilePath, truth: FilePath) -> None:
    """Raise UserError for a pose on an image that the truth lacks, as pycocotools' `loadRes` does."""
    unknown = [image_id for image_id in poses.image_id.tolist() if image_id not in known]
    if unknown:
        fail(str(path), f"poses on the images of {truth}", Phrase(f"image_id {unknown[0]}"))


def read_mpii_predictions(path: FilePath) -> np.ndarray:
    """Read MPII16's keypoints, float64 (N, 16, 2), in image pixels from 0. The file's `preds` count from 1, like the truth.

    The file is a `.mat` up to MATLAB 7, or `.h5` where h5py is installed; `preds` is (N, 16, 2) or (2, 16, N), as in
    anibali/eval-mpii-pose. Values that are not finite stay and count as missing. UserError on anything else.
    """
    is_hdf5 = Path(path).suffix.lower() in HDF5_SUFFIXES
    preds = _hdf5(path) if is_hdf5 else np.asarray(field(read_mat(path), "preds", str(path)))
    k = len(MPII16)
    if (
        preds.dtype.kind not in "iuf"
        or preds.ndim != 3
        or k != preds.shape[1]
        or 2 not in (preds.shape[0], preds.shape[2])
    ):
        fail((path, "`preds`"), f"numbers of shape (N, {k}, 2) or (2, {k}, N)", Phrase(f"{preds.dtype} {preds.shape}"))
    ordered = preds if preds.shape[2] == 2 else preds.transpose(2, 1, 0)
    return ordered.astype(np.float64) - FIRST_PIXEL


def _skeleton_of(rows: list[tuple[int, Any]], path: FilePath, skeletons: Sequence[Skeleton]) -> Skeleton:
    """Return the first skeleton with as many keypoints as the first pose; the first of all where there is no pose."""
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
