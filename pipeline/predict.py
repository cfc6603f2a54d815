"""Poses of annotated people by any network: crop of the plain box, forward, decode. Torch or ONNX Runtime is the caller's business."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.crops import crop
from pipeline.flip import Forward
from pipeline.frames import regions_of_boxes
from pipeline.outputs import keypoints, maps_and_scores, target_wh
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.spec import NetworkSpec


def predict(
    forward: Forward, spec: NetworkSpec, people: People, images: Path, batch: int, advance: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) in image pixels, NaN where there is none, and confidences (N, K) of all people; `advance` counts them."""
    points = np.full((len(people), len(spec.skeleton), 2), np.nan)
    confidence = np.zeros((len(people), len(spec.skeleton)))
    for rows, crops in crops_of(spec, people, images, batch):
        points[rows], confidence[rows] = poses_of_crops(forward, spec, crops, people.box[rows])
        advance(len(rows))
    return points, confidence


def poses_of_crops(
    forward: Forward, spec: NetworkSpec, crops: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (M, K, 2) in image pixels and confidences (M, K) of the crops uint8 (M, H, W, 3) of boxes (M, 4)."""
    maps, confidence = maps_and_scores(forward(crops), spec)
    back = spec.image_from_target(regions_of_boxes(boxes), target_wh(maps))
    return keypoints(maps, back, spec), confidence


def crops_of(spec: NetworkSpec, people: People, images: Path, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (M,) and RGB crops uint8 (M, H, W, 3) of everybody's box, `batch` at a time, each picture read once."""
    affines = spec.input_from_image(regions_of_boxes(people.box))
    rows: list[int] = []
    crops: list[np.ndarray] = []
    order = np.argsort(people.image, kind="stable")
    image, picture = None, np.empty((0, 0, 3), np.uint8)
    for row in order.tolist():
        if people.image[row] != image:
            image = people.image[row]
            picture = read_picture(safe_path(images, image), people.image_wh[row])
        rows.append(row)
        crops.append(crop(picture, affines[row : row + 1], spec.input_wh))
        if len(rows) == batch:
            yield np.array(rows), np.concatenate(crops)
            rows, crops = [], []
    if rows:
        yield np.array(rows), np.concatenate(crops)
