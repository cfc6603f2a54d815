"""`PoseFusion`: poses of the people in an image, by an exported student or by a trained one. NumPy in, NumPy out."""

import os
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError, short_repr
from pipeline.common.extras import missing_package
from pipeline.inference.exported import open_exported
from pipeline.inference.predict import poses_of_crops
from pipeline.pose.crops import crop
from pipeline.pose.flip_averaging import Forward
from pipeline.pose.geometry import regions_of_boxes
from pipeline.pose.options import Device
from pipeline.pose.spec import NetworkSpec


class PoseFusion:
    """Predict the keypoints of people in boxes of an image.

    `student` is a file that `pipeline export` wrote, which holds all that is to be known about it, or the folder of a trained
    student, which needs torch. `device` is `auto`, `cuda` or `cpu`. UserError for a file or folder that is no student.
    """

    def __init__(self, student: str | os.PathLike[str], device: Device = "auto", batch: int = 64) -> None:
        self.batch = batch
        """Most crops in one pass of the network."""
        self.spec: NetworkSpec
        """What the network takes and gives: `spec.input_wh`, `spec.color`, `spec.mean`, `spec.std`, `spec.padding`, `spec.kind`."""
        path = Path(student)
        self.spec, self._forward = _trained(path, device) if path.is_dir() else _exported(path, device, batch)

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the K keypoints, in the order of the output."""
        return self.spec.skeleton.keypoints

    @property
    def limbs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of names of the keypoints to join when drawing."""
        return self.spec.skeleton.limbs

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoints, float64 (N, K, 2), and their scores, float (N, K) in 0-1, of N people.

        `image` is RGB, uint8 (H, W, 3), upright. `boxes` (N, 4) are x, y, width and height in its pixels, as COCO has them.
        Keypoints are x and y in its pixels, where the centre of the first pixel is (0, 0); NaN where there is none. UserError for
        an image of another form, and for a box without an area or outside the image.
        """
        boxes = _checked(image, boxes)
        points, scores = [np.empty((0, len(self.keypoints), 2))], [np.empty((0, len(self.keypoints)), np.float32)]
        for start in range(0, len(boxes), self.batch):
            some = boxes[start : start + self.batch]
            affines = self.spec.input_from_image(regions_of_boxes(some))
            crops = crop(np.ascontiguousarray(image), affines, self.spec.input_wh)
            found = poses_of_crops(self._forward, self.spec, crops, some)
            points.append(found[0])
            scores.append(found[1])
        return np.concatenate(points), np.concatenate(scores)


def _exported(path: Path, device: Device, batch: int) -> tuple[NetworkSpec, Forward]:
    opened = open_exported(path, device)
    return opened.spec, opened.forward(batch)


def _trained(folder: Path, device: Device) -> tuple[NetworkSpec, Forward]:
    try:
        from pipeline.networks.build import load_student
        from pipeline.networks.run import forward_of, torch_device
    except ModuleNotFoundError as error:
        raise missing_package(error, f"{folder}: a folder of weights") from error

    student = load_student(folder)
    return student.spec, forward_of(student.network.to(torch_device(device)), student.spec)


def _checked(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the boxes as float64 (N, 4); UserError where the image or a box is not usable."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f"image: expected RGB, uint8 [height, width, 3], found {found}: `pose_fusion.read_image` gives it"
        )
    try:
        xywh = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"boxes: expected numbers [people, 4], found {short_repr(boxes)}") from None
    xywh = xywh.reshape(0, 4) if xywh.size == 0 else xywh
    if xywh.ndim != 2 or xywh.shape[1] != 4:
        raise UserError(f"boxes: expected x, y, width, height of each person, [people, 4], found {list(xywh.shape)}")
    low, high = xywh[:, :2], xywh[:, :2] + xywh[:, 2:]
    usable = np.isfinite(xywh).all(axis=1) & (xywh[:, 2:] > 0).all(axis=1)
    usable &= (high > 0).all(axis=1) & (low < image.shape[1::-1]).all(axis=1)
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise UserError(
            f"boxes: expected x, y, width, height inside the {image.shape[1]} x {image.shape[0]} image, found "
            f"{xywh[row].round(2).tolist()} in row {row}: leave it out"
        )
    return xywh
