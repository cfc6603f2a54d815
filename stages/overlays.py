"""Overlay sheets: some test people of a dataset with the truth and every model's pose side by side."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.crops import crop
from pipeline.drawing import draw_pose, sheet
from pipeline.errors import UserError
from pipeline.frames import apply, input_from_image, regions_of_boxes
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.scores.poses import Poses
from stages.datasets import TEST, DatasetSettings

OVERLAYS = Path("data/overlays")
CROP_WH = (192, 256)
PADDING = 1.25


def write_overlay(
    name: str, dataset: DatasetSettings, truth: People, shown: dict[str, Poses], count: int, confidence: float
) -> None:
    """`count` people spread over the test set; keypoints above `confidence` are drawn."""
    used = np.flatnonzero(truth.use)
    picked = used[np.linspace(0, len(used) - 1, min(count, len(used))).astype(int)]
    rows = []
    for row in picked:
        picture = read_picture(safe_path(dataset.images(TEST), truth.image[row]), truth.image_wh[row])
        affine = input_from_image(regions_of_boxes(truth.box[row : row + 1]), CROP_WH, PADDING, "classic")
        plain = crop(picture, affine, CROP_WH)[0]
        drawn = [draw_pose(plain, truth.skeleton, apply(affine[0], truth.keypoints[row]), truth.labelled[row])]
        for poses in shown.values():
            at = int(np.flatnonzero(poses.person == truth.person[row])[0])
            known = poses.confidence[at] > confidence
            drawn.append(draw_pose(plain, poses.skeleton, apply(affine[0], np.nan_to_num(poses.keypoints[at])), known))
        rows.append(drawn)
    labels = [f"{truth.image[row]}, person {truth.person[row]}" for row in picked]
    finished = sheet(rows, ["truth", *shown], labels)[:, :, ::-1]
    place = OVERLAYS / f"{name}.jpg"
    if not cv2.imwrite(str(place), finished, [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise UserError(f"{place}: cannot be written: is the disk full, or the folder read-only?")
