"""`pipeline evaluate --predictions`: another project's predictions on a dataset part. Reads annotations only, and no image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.documents import json_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.datasets.coco import read_listing
from pipeline.datasets.mpii import read_mpii_truth
from pipeline.metrics.accuracy import PCKH_THRESHOLDS, ap_of_shared_keypoints, ap_scores
from pipeline.metrics.bootstrap import Score, draw_resamples
from pipeline.metrics.model_scores import ModelScores
from pipeline.metrics.pckh import Pckh, correct_keypoints, head_sizes, pckh_of_correct, pckh_scores
from pipeline.metrics.prediction_files import (
    HDF5_SUFFIXES,
    read_coco_results,
    read_mpii_predictions,
    refuse_unknown_images,
)
from pipeline.metrics.score_names import WEIGHTED_SUFFIX
from pipeline.people.people import head_size
from pipeline.people.plausibility import areas_used, refuse_implausible
from pipeline.people.poses import Poses
from pipeline.pose.own_skeletons import guessed_sigmas_note
from pipeline.pose.skeletons import MPII16
from stages.evaluate.paper import write_paper
from stages.evaluate.parts import DatasetPart, names_of_parts, student_skeleton
from stages.evaluate.results import EvaluateSettings, part_document, refuse_nobody
from stages.evaluate.tables import head_box_note, joint_table, keypoint_table, missed_note, score_table
from stages.prepare import on_listed_images, read_annotation_file
from stages.project.datasets import TEST, PrepareSettings
from stages.project.project import Project

MISMATCHED_PCKH = 5.0
"""PCKh below which people or joints are in another order than the truth's: no network is that bad."""


def run(
    project: Project,
    predictions: Path,
    data: str,
    out: Path | None = None,
    log: Callable[[str], None] = print,
    csv: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Print the tables of a predictions file on one part: COCO keypoint results (.json) by AP, MPII's `preds` (.mat, .h5) by PCKh.

    The people are those of the annotation file: `prepare` need not have run. `out` gets the numbers as JSON, `csv` and `latex` the
    tables. UserError for a file that does not fit the part, and where nobody of the part, or no pose, can be scored.
    """
    notes: list[str] = []
    part = annotated_part(project, data, notes.append)
    count = project.section("evaluate", EvaluateSettings).resamples
    suffix = predictions.suffix.lower()
    seed = [project.seed, *part.title.encode()]
    if suffix == ".json":
        scores, described = _coco(project, predictions, part, count, seed, notes.append)
    elif suffix in (".mat", *HDF5_SUFFIXES):
        scores, described = _mpii(predictions, part, count, seed)
    else:
        raise UserError(f"{predictions}: expected COCO results (.json) or MPII predictions (.mat, .h5)")
    refuse_nobody(scores, part.title, part.dataset.score)
    name = predictions.name
    log(f"{name} on {part.title}: {described}")
    log(score_table(scores))
    if scores.keypoints:
        log(keypoint_table(scores))
    if scores.pckh:
        log(joint_table({name: {part.title: scores}}, part.title))
        if scores.pckh[0.5].mean < MISMATCHED_PCKH:
            log(f"{name}: hardly a joint is where it should be: are its people and joints in the order of the truth?")
        if not _truth_file(part) and (note := head_box_note(part.title, part.truth)):
            log(note)
    if part.dataset.score == "ap":
        notes.append(f"{part.title}: the area in OKS is {areas_used(part.truth)}")
        if guess := guessed_sigmas_note(part.truth.skeleton):
            notes.append(f"{part.title}: {guess}")
    if note := missed_note({name: {part.title: scores}}):
        notes.append(note)
    for note in notes:
        log(note)
    write_paper({name: {part.title: scores}}, {part.title: part.dataset}, csv, latex, log)
    if out:
        write_atomically(out, json_bytes({name: {part.title: part_document(scores)}}))
        log(f"numbers: {out}")


def annotated_part(project: Project, data: str, log: Callable[[str], None]) -> DatasetPart:
    """Return the part that `data` names, its people read from the annotation file as `prepare` reads them."""
    ((name, split),) = names_of_parts(project, [data])
    dataset = project.dataset(name)
    people = read_annotation_file(dataset, dataset.annotation_file(split), log)
    refuse_implausible(people, f"datasets.{name}", log)
    validation = project.section("prepare", PrepareSettings).validation
    return DatasetPart(name, dataset, split, dataset.people_of(split, people, validation, project.seed))


def _coco(
    project: Project, path: Path, part: DatasetPart, count: int, seed: list[int], log: Callable[[str], None]
) -> tuple[ModelScores, str]:
    """Return the AP over all images of the annotation file, or over those of the split where it is not test; and a description.

    Where the part has a list `only`, its images alone count.
    """
    dataset, truth = part.dataset, part.truth
    if dataset.score != "ap":
        remedy = (
            f"score {part.name} from a .mat or .h5 file" if dataset.score == "pckh" else "score a model with --model"
        )
        raise UserError(
            f"{path}: COCO results do not state the person of a pose, which {dataset.score.upper()} needs: {remedy}"
        )
    file = dataset.annotation_file(part.split)
    annotations = Path(dataset.annotations) / file.file
    student = student_skeleton(project, dataset.skeleton)
    listing = read_listing(annotations, dataset.people_categories)
    known = listing.images
    poses = read_coco_results(path, (dataset.skeleton, *project.skeletons.values(), student), listing.persons, log)
    refuse_unknown_images(poses, known, path, annotations)
    ordered = in_listed_order(poses, listing.keypoints)
    if ordered is not poses:
        log(f"{path}: keypoints are taken in the order in which {annotations} lists them, as pycocotools takes them")
        poses = ordered
    whole_file = part.split == TEST and file.share is None
    images = np.array(sorted(known), np.int64) if whole_file else np.unique(truth.image_id)
    if file.only is not None:
        images = images[on_listed_images([known[image][0] for image in images.tolist()], file.only)]
    total, poses = len(poses), poses.rows(np.isin(poses.image_id, images))
    if not len(poses):
        raise UserError(
            f"{path}: expected poses on the images of {part.title}, found none of {total}: name another part"
        )
    _check_pixels(path, poses, {image: known[image][1] for image in known}, log)
    resamples = draw_resamples(images, count, seed)
    described = f"{len(poses)} poses of {poses.skeleton.name} on {len(images)} images"
    if dataset.labels_train or poses.skeleton.name == dataset.skeleton.name:
        return ModelScores(ap_scores(truth, poses, resamples)), described
    return ModelScores(ap_of_shared_keypoints(truth, poses, student, resamples)), described


def _check_pixels(path: Path, poses: Poses, image_wh: dict[int, tuple[int, int]], log: Callable[[str], None]) -> None:
    """UserError where all keypoints are shares of an image's size; a line where most poses lie wholly outside their images."""
    if poses.keypoints.max() <= 1:
        raise UserError(
            f"{path}: expected keypoints in pixels, found none above 1: multiply them by the width and height of their images"
        )
    wh = np.array([image_wh[image] for image in poses.image_id.tolist()])
    within = np.all((poses.keypoints >= -0.5) & (poses.keypoints <= wh[:, None] - 0.5), axis=2)
    inside = np.any(within, axis=1)
    outside = ~inside & (wh > 0).all(axis=1)
    if outside.mean() > 0.5:
        first = int(poses.image_id[outside][0])
        log(
            f"{path}: {int(outside.sum())} of {len(poses)} poses lie wholly outside their images (first on image {first}): are the "
            "keypoints in pixels of the whole image, not of a crop or of another size?"
        )


def in_listed_order(poses: Poses, listed: tuple[str, ...]) -> Poses:
    """Return poses of keypoints in the order that the annotation file lists; the same object where that is the skeleton's order."""
    skeleton = poses.skeleton
    names = tuple(map(skeleton.named, listed))
    if names == skeleton.keypoints or sorted(names) != sorted(skeleton.keypoints):
        return poses
    order = [names.index(keypoint) for keypoint in skeleton.keypoints]
    return replace(poses, keypoints=poses.keypoints[:, order], confidence=poses.confidence[:, order])


def _mpii(path: Path, part: DatasetPart, count: int, seed: list[int]) -> tuple[ModelScores, str]:
    """Return the PCKh against the truth file where the part names one, as the official evaluation does, else against the table."""
    if part.dataset.score != "pckh" or part.dataset.skeleton != MPII16:
        raise UserError(
            f"{path}: MPII predictions are of a dataset with MPII's 16 joints and the score `pckh`, not of {part.name}"
        )
    joints, labelled, size, image_id, source = _mpii_truth(part)
    predicted = read_mpii_predictions(path)
    if len(predicted) != len(joints):
        raise UserError(
            f"{path}: expected `preds` of the {len(joints)} people of {source}, in its order, found {len(predicted)}"
        )
    resamples = draw_resamples(image_id, count, seed)
    scores: dict[str, Score] = {}
    columns: dict[str, list[Any]] = {"keypoint": list(MPII16.keypoints)}
    by_threshold: dict[float, Pckh] = {}
    for threshold in PCKH_THRESHOLDS:
        correct, counted = correct_keypoints(joints, labelled, size, predicted, threshold)
        mean, weighted = pckh_scores(correct, counted, image_id, resamples)
        by_threshold[threshold] = pckh_of_correct(correct, counted)
        scores |= {f"PCKh@{threshold}": mean, f"PCKh@{threshold}{WEIGHTED_SUFFIX}": weighted}
        columns["labelled"] = counted.sum(axis=0).tolist()
        columns[f"PCKh@{threshold}"] = list(by_threshold[threshold].keypoints.values())
    described = f"{len(predicted)} people of {source}, {int(counted.sum())} labelled joints"
    return ModelScores(scores, columns, by_threshold), described


def _truth_file(part: DatasetPart) -> Path | None:
    """Return the path of MPII's truth file, None where the part names none."""
    file = part.dataset.annotation_file(part.split)
    return (
        Path(part.dataset.annotations) / file.truth
        if part.split == TEST and file.truth and file.share is None
        else None
    )


def _mpii_truth(part: DatasetPart) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Return joints (N, 16, 2), labels (N, 16), head sizes (N,), images (N,) and the source of them.

    The truth file states no images. They are the table's where it has as many people, otherwise each person has an image alone.
    """
    truth = part.truth
    if path := _truth_file(part):
        if part.dataset.annotation_file(part.split).only is not None:
            raise UserError(
                f"datasets.{part.name}.{part.split}.only: expected none beside MPII predictions, which are of all people of {path}: "
                "take it out, and score them all"
            )
        official = read_mpii_truth(path)
        count = len(official.joints)
        image_id = truth.image_id if len(truth) == count else np.arange(count)
        return official.joints, official.labelled, head_size(official.head_box), image_id, str(path)
    positions = MPII16.positions_in(truth.skeleton)
    labelled = truth.labelled[:, positions] & truth.use[:, None]
    return truth.keypoints[:, positions], labelled, head_sizes(truth), truth.image_id, part.title
