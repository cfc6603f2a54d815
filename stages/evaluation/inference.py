"""Poses of a model on a dataset's people: in annotated boxes, or in those of a detections file. No scores of datasets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.frames import regions_of_boxes
from pipeline.people.coco import read_coco_pictures, read_detections
from pipeline.people.people import People
from pipeline.predict import predict
from pipeline.scores.oks_nms import oks_nms
from pipeline.scores.poses import Poses, poses_of
from pipeline.spec import NetworkSpec
from stages.datasets import DatasetSettings
from stages.evaluation.models import BATCH, Model


@dataclass(frozen=True)
class DetectedPeople:
    """What a detector found on the pictures of a test part."""

    people: People
    """A row per box, without labels; `person` is -1."""
    score: np.ndarray
    """float64: the detector's, per row."""
    image_id: np.ndarray
    """int64: all pictures of the annotation file, those without people or boxes included."""


def poses_in_boxes(model: Model, truth: People, images: Path, advance: Callable[[int], object]) -> Poses:
    """A pose for every person in use, in the annotated box."""
    people = truth.rows(truth.use)
    points, confidence = predict(model.forward, model.spec, people, images, BATCH, advance)
    return poses_of(people, model.spec.skeleton, points, confidence)


def detected_people(dataset: DatasetSettings, truth: People) -> DetectedPeople | None:
    """The detections of the dataset's test part, None where it names none. Boxes on other pictures, and empty ones, are left out."""
    if dataset.test is None or dataset.test.detections is None:
        return None
    folder = Path(dataset.annotations)
    detections = read_detections(folder / dataset.test.detections)
    pictures = read_coco_pictures(folder / dataset.test.file)
    kept = np.isin(detections.image_id, list(pictures)) & (detections.box[:, 2:] > 0).all(axis=1)
    image_id, box = detections.image_id[kept], detections.box[kept]
    m, k = len(box), len(truth.skeleton)
    people = People(
        skeleton=truth.skeleton,
        person=np.full(m, -1, np.int64),
        image=np.array([pictures[int(i)][0] for i in image_id], np.str_),
        image_id=image_id,
        image_wh=np.array([pictures[int(i)][1] for i in image_id], np.int32).reshape(-1, 2),
        box=box,
        area=box[:, 2] * box[:, 3],
        crowd=np.zeros(m, bool),
        use=np.ones(m, bool),
        keypoints=np.zeros((m, k, 2)),
        labelled=np.zeros((m, k), bool),
        head_box=np.full((m, 4), np.nan),
    )
    return DetectedPeople(people, detections.score[kept], np.array(sorted(pictures), np.int64))


def poses_in_detections(
    model: Model, detected: DetectedPeople, images: Path, advance: Callable[[int], object]
) -> Poses:
    """A pose per detection as top-down papers rank them: box score x mean keypoint confidence, then OKS suppression."""
    people = detected.people
    points, confidence = predict(model.forward, model.spec, people, images, BATCH, advance)
    poses = poses_of(people, model.spec.skeleton, points, confidence)
    score = poses.score * detected.score
    area = region_area(model.spec, people.box)
    stays = oks_nms(poses.image_id, points, score, area, model.spec.skeleton.sigmas)
    return replace(poses, score=score).rows(stays)


def region_area(spec: NetworkSpec, box: np.ndarray) -> np.ndarray:
    """Float64 (N,): square picture pixels that the network is shown of each box, padded and widened (HRNet's area in OKS suppression)."""
    affine = spec.input_from_image(regions_of_boxes(box))
    return spec.input_wh[0] * spec.input_wh[1] / np.abs(np.linalg.det(affine[:, :, :2]))
