"""`pipeline evaluate --predictions`: somebody else's predictions file against a dataset part. No network runs, no results change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.people.coco import read_coco_pictures
from pipeline.people.mpii import mpii_truth
from pipeline.people.people import head_size
from pipeline.scores.bootstrap import Score, resample
from pipeline.scores.mpii import Pckh, marks, pckh_scores, summed
from pipeline.scores.predictions import HDF5, read_mpii_predictions, read_results, refuse_unknown_pictures
from pipeline.skeletons import MPII16, SKELETONS
from stages.datasets import TEST
from stages.evaluation.parts import DatasetPart, parts_named, student_skeleton
from stages.evaluation.results import EvaluateSettings, as_json, joint_table, keypoint_table, part_values, score_table
from stages.evaluation.scored import Scored
from stages.evaluation.scores import PCKH_THRESHOLDS, WEIGHTED, ap_scores, shared_ap
from stages.params import settings

MISMATCHED = 5.0
"""A PCKh below this is another order of people or joints, not a network."""


def run(
    params: dict[str, Any],
    predictions: Path,
    data: str,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Print the tables of a predictions file on one part: COCO keypoint results (.json) by AP, MPII's `preds` (.mat, .h5) by PCKh.

    `out` gets them as JSON. UserError for a file that does not go with the part.
    """
    part = parts_named(params, [data])[0]
    count = settings(params, "evaluate", EvaluateSettings).resamples
    suffix = predictions.suffix.lower()
    seed = [int(params.get("seed", 0)), *part.title.encode()]
    if suffix == ".json":
        found, what = _coco(params, predictions, part, count, seed)
    elif suffix in (".mat", *HDF5):
        found, what = _mpii(predictions, part, count, seed)
    else:
        raise UserError(f"{predictions}: expected COCO results (.json) or MPII predictions (.mat, .h5)")
    name = predictions.name
    say(f"{name} on {part.title}: {what}")
    say(score_table(found))
    if found.keypoints:
        say(keypoint_table(found))
    if found.pckh:
        say(joint_table({name: {part.title: found}}, part.title))
        if found.pckh[0.5].mean < MISMATCHED:
            say(f"{name}: hardly a joint is where it should be: are its people and joints in the order of the truth?")
    if out:
        write_atomically(out, as_json({name: {part.title: part_values(found)}}))
        say(f"numbers: {out}")


def _coco(params: dict[str, Any], path: Path, part: DatasetPart, count: int, seed: list[int]) -> tuple[Scored, str]:
    """AP over all pictures of the annotation file, or of another split than test over the split's."""
    dataset, truth = part.dataset, part.truth
    if dataset.score != "ap":
        raise UserError(
            f"{path}: COCO results do not say whose pose each is, which PCKh needs: score {part.name} from a .mat or .h5 file"
        )
    file = dataset.test if part.split == TEST else dataset.train
    assert file is not None
    annotations = Path(dataset.annotations) / file.file
    student = student_skeleton(params, dataset.skeleton)
    poses = read_results(path, (dataset.skeleton, *SKELETONS.values(), student))
    known = read_coco_pictures(annotations)
    refuse_unknown_pictures(poses, known, path, annotations)
    pictures = np.array(sorted(known), np.int64) if part.split == TEST else np.unique(truth.image_id)
    poses = poses.rows(np.isin(poses.image_id, pictures))
    resamples = resample(pictures, count, seed)
    what = f"{len(poses)} poses of {poses.skeleton.name} on {len(pictures)} pictures"
    if dataset.train or poses.skeleton.name == dataset.skeleton.name:
        return Scored(ap_scores(truth, poses, resamples)), what
    return Scored(shared_ap(truth, poses, student, resamples)), what


def _mpii(path: Path, part: DatasetPart, count: int, seed: list[int]) -> tuple[Scored, str]:
    """PCKh against the truth file where the part names one, as the official evaluation has it, else against the table."""
    if part.dataset.score != "pckh" or part.dataset.skeleton != MPII16:
        raise UserError(
            f"{path}: MPII predictions go with a dataset of MPII's 16 joints judged by `pckh`, not {part.name}"
        )
    predicted = read_mpii_predictions(path)
    joints, labelled, size, image_id, source = _mpii_truth(part)
    if len(predicted) != len(joints):
        raise UserError(
            f"{path}: expected `preds` of the {len(joints)} people of {source}, in its order, found {len(predicted)}"
        )
    resamples = resample(image_id, count, seed)
    scores: dict[str, Score] = {}
    columns: dict[str, list[Any]] = {"keypoint": list(MPII16.keypoints)}
    by_threshold: dict[float, Pckh] = {}
    for threshold in PCKH_THRESHOLDS:
        correct, counted = marks(joints, labelled, size, predicted, threshold)
        mean, weighted = pckh_scores(correct, counted, image_id, resamples)
        by_threshold[threshold] = summed(correct, counted)
        scores |= {f"PCKh@{threshold}": mean, f"PCKh@{threshold}{WEIGHTED}": weighted}
        columns["labelled"] = counted.sum(axis=0).tolist()
        columns[f"PCKh@{threshold}"] = list(by_threshold[threshold].keypoints.values())
    what = f"{len(predicted)} people of {source}, {int(counted.sum())} labelled joints"
    return Scored(scores, columns, by_threshold), what


def _mpii_truth(part: DatasetPart) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Joints (N, 16, 2), labels (N, 16), head sizes (N,), pictures (N,) and where they are from.

    The truth file states no pictures: they are the table's where that has as many people, else each person is one.
    """
    truth = part.truth
    if part.split == TEST and part.dataset.test and part.dataset.test.truth:
        path = Path(part.dataset.annotations) / part.dataset.test.truth
        official = mpii_truth(path)
        count = len(official.joints)
        image_id = truth.image_id if len(truth) == count else np.arange(count)
        return official.joints, official.labelled, head_size(official.head_box), image_id, str(path)
    positions = MPII16.positions_in(truth.skeleton)
    labelled = truth.labelled[:, positions] & truth.use[:, None]
    source = f"{part.title} (head boxes of its table)"
    return truth.keypoints[:, positions], labelled, head_size(truth.head_box), truth.image_id, source
