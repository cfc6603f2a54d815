"""Reads predictions of other projects: COCO keypoint results in JSON, MPII's `preds` in MATLAB or HDF5 files."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.datasets.coco import PERSON_CATEGORY, Warn, person_rows
from pipeline.datasets.matlab import read_mat
from pipeline.datasets.mpii import FIRST_PIXEL
from pipeline.people.poses import Poses
from pipeline.people.validation import Phrase, fail, field, number, numbers, read_bytes, read_json, reason, whole_number
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton

HDF5_SUFFIXES = (".h5", ".hdf5")
HDF5_START = b"\x89HDF\r\n\x1a\n"
MATLAB_73_START = b"MATLAB 7.3"
"""A MATLAB file that is HDF5 behind a header of 512 bytes, with the dimensions of every array in the other order."""


def read_coco_results(
    path: FilePath,
    skeletons: Sequence[Skeleton] = (COCO17,),
    persons: Collection[int] = (PERSON_CATEGORY,),
    warn: Warn = lambda line: None,
) -> Poses:
    """Read a COCO keypoint results file: a list of image_id, category_id, keypoints (x, y, confidence) and score.

    The poses are in the first of `skeletons` that has as many keypoints as the first pose. `persons` are the truth's categories
    of people; `warn` gets a line for poses of others. UserError on anything malformed, and where all poses are of others.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of poses", document)
    rows = [(row, document[row]) for row in person_rows(document, path, "pose", persons, warn)]
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

    The file is a `.mat` of any version or HDF5; `preds` is (N, 16, 2) or (2, 16, N), as in anibali/eval-mpii-pose. Values that
    are not finite stay and count as missing. UserError on anything else.
    """
    start = read_bytes(path)[: len(MATLAB_73_START)]
    if start.startswith(MATLAB_73_START):
        preds = _hdf5(path).T
    elif start.startswith(HDF5_START) or Path(path).suffix.lower() in HDF5_SUFFIXES:
        preds = _hdf5(path)
    else:
        preds = np.asarray(field(read_mat(path), "preds", str(path)))
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
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["preds"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
        raise UserError(f"{path}: expected an HDF5 file with `preds`, found {reason(error)}") from error
