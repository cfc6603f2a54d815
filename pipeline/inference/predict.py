"""Predicts poses of annotated people with any network: crops the plain box, runs the network, decodes. The caller chooses the runtime."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.people.images import read_image, safe_path
from pipeline.people.people import People
from pipeline.pose.crops import crop
from pipeline.pose.flip_averaging import Forward
from pipeline.pose.geometry import regions_of_boxes
from pipeline.pose.outputs import OutputArrays, decode_keypoints, maps_and_scores, output_wh
from pipeline.pose.spec import NetworkSpec


def predict(
    forward: Forward, spec: NetworkSpec, people: People, images: Path, batch: int, advance: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (N, K, 2) in image pixels, NaN if there is none, and confidences (N, K) of all people.

    `advance` is called with the number of people after each batch.
    """
    points = np.full((len(people), len(spec.skeleton), 2), np.nan)
    confidence = np.zeros((len(people), len(spec.skeleton)))
    for rows, crops in crops_of(spec, people, images, batch):
        points[rows], confidence[rows] = poses_of_crops(forward, spec, crops, people.box[rows])
        advance(len(rows))
    return points, confidence


def poses_of_crops(
    forward: Forward, spec: NetworkSpec, crops: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (M, K, 2) in image pixels and confidences (M, K) from crops uint8 (M, H, W, 3) of boxes (M, 4)."""
    return poses_of_outputs(forward(crops), spec, boxes)


def poses_of_outputs(raw: OutputArrays, spec: NetworkSpec, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (M, K, 2) in image pixels and confidences (M, K) from a network's raw outputs on the crops of boxes (M, 4)."""
    maps, confidence = maps_and_scores(raw, spec)
    back = spec.image_from_target(regions_of_boxes(boxes), output_wh(maps))
    return decode_keypoints(maps, back, spec), confidence


def crops_of(spec: NetworkSpec, people: People, images: Path, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (M,) and RGB crops uint8 (M, H, W, 3) of all people's boxes, `batch` at a time. Each image is read once."""
    affines = spec.input_from_image(regions_of_boxes(people.box))
    rows: list[int] = []
    crops: list[np.ndarray] = []
    order = np.argsort(people.image, kind="stable")
    name, image = None, np.empty((0, 0, 3), np.uint8)
    for row in order.tolist():
        if people.image[row] != name:
            name = people.image[row]
            image = read_image(safe_path(images, name), people.image_wh[row])
        rows.append(row)
        crops.append(crop(image, affines[row : row + 1], spec.input_wh))
        if len(rows) == batch:
            yield np.array(rows), np.concatenate(crops)
            rows, crops = [], []
    if rows:
        yield np.array(rows), np.concatenate(crops)
