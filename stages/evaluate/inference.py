"""Runs a model on a dataset's people, in annotated boxes or in those of a detections file. Computes no scores of datasets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_detections, read_listing
from pipeline.inference.predict import predict
from pipeline.metrics.oks_nms import oks_nms
from pipeline.people.people import People
from pipeline.people.plausibility import refuse_implausible
from pipeline.people.poses import Poses, poses_of
from pipeline.pose.geometry import regions_of_boxes
from pipeline.pose.spec import NetworkSpec
from stages.evaluate.models import EVALUATION_BATCH, Model
from stages.project.datasets import DatasetSettings


@dataclass(frozen=True)
class DetectedPeople:
    """A detector's boxes on the images of a test part."""

    people: People
    """M rows, one per box, without labels; `person` is -1."""
    score: np.ndarray
    """float64 (M,): the detector's scores."""
    image_id: np.ndarray
    """int64 (I,): all images of the annotation file, including those without people or boxes."""


def poses_in_boxes(model: Model, truth: People, images: Path, advance: Callable[[int], object]) -> Poses:
    """Predict the pose of every person in use in the annotated box."""
    people = truth.rows(truth.use)
    points, confidence = predict(model.forward, model.spec, people, images, EVALUATION_BATCH, advance)
    return poses_of(people, model.spec.skeleton, points, confidence)


def detected_people(dataset: DatasetSettings, truth: People, log: Callable[[str], None]) -> DetectedPeople | None:
    """Read the detections of the dataset's test part; None where it names no file of them.

    Boxes on images that the annotation file lacks, empty boxes, and boxes of another category than its people's are left out.
    UserError where no box remains.
    """
    if dataset.test is None or dataset.test.detections is None:
        return None
    folder = Path(dataset.annotations)
    listing = read_listing(folder / dataset.test.file, dataset.people_categories)
    images = listing.images
    detections = read_detections(folder / dataset.test.detections, listing.persons, log)
    kept = np.isin(detections.image_id, list(images)) & (detections.box[:, 2:] > 0).all(axis=1)
    if not kept.any():
        raise UserError(
            f"{folder / dataset.test.detections}: expected boxes on the images of {folder / dataset.test.file}, "
            f"found none among {len(kept)}: name another file of detections in params.yaml"
        )
    image_id, box = detections.image_id[kept], detections.box[kept]
    m, k = len(box), len(truth.skeleton)
    people = People(
        skeleton=truth.skeleton,
        person=np.full(m, -1, np.int64),
        image=np.array([images[int(i)][0] for i in image_id], np.str_),
        image_id=image_id,
        image_wh=np.array([images[int(i)][1] for i in image_id], np.int32).reshape(-1, 2),
        box=box,
        area=box[:, 2] * box[:, 3],
        crowd=np.zeros(m, bool),
        use=np.ones(m, bool),
        keypoints=np.zeros((m, k, 2)),
        labelled=np.zeros((m, k), bool),
        head_box=np.full((m, 4), np.nan),
    )
    refuse_implausible(people, str(folder / dataset.test.detections), log)
    return DetectedPeople(people, detections.score[kept], np.array(sorted(images), np.int64))


def poses_in_detections(
    model: Model, detected: DetectedPeople, images: Path, advance: Callable[[int], object]
) -> Poses:
    """Predict a pose per detection. The score is `person_score`, and OKS suppression follows."""
    people = detected.people
    points, confidence = predict(model.forward, model.spec, people, images, EVALUATION_BATCH, advance)
    poses = poses_of(people, model.spec.skeleton, points, confidence)
    score = poses.score * detected.score
    area = region_area(model.spec, people.box)
    kept = oks_nms(poses.image_id, points, score, area, model.spec.skeleton.sigmas)
    return replace(poses, score=score).rows(kept)


def region_area(spec: NetworkSpec, box: np.ndarray) -> np.ndarray:
    """Return float64 (N,): square image pixels of the padded and widened regions of the boxes (HRNet's area in OKS suppression)."""
    affine = spec.input_from_image(regions_of_boxes(box))
    return spec.input_wh[0] * spec.input_wh[1] / np.abs(np.linalg.det(affine[:, :, :2]))
