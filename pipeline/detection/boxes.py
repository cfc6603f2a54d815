"""Person boxes for a user's own images: from a COCO file, matched by name, or the whole image. Detectors are in detectors.py."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.coco import (
    Warn,
    annotated_categories,
    images_by_id,
    person_categories,
    read_detections,
)
from pipeline.people.validation import Phrase, fail, field, number, numbers, read_json, whole_number


@dataclass(frozen=True)
class Boxes:
    """M person boxes of one image."""

    xywh: np.ndarray
    """float64 (M, 4): x, y, width, height in image pixels."""
    score: np.ndarray
    """float64 (M,): confidence in 0-1 that the box holds a person; 1 where the source states none."""

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: np.ndarray) -> "Boxes":
        return Boxes(self.xywh[rows], self.score[rows])


NO_BOXES = Boxes(np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True)
class BoxFile:
    """The content of a file of boxes, by image."""

    path: Path
    image_of_name: dict[str, int] | None
    """Image id by file name, as the file has it; None for a list of detections, which has no names."""
    image_wh: dict[int, tuple[int, int]]
    """Width and height by image id; (0, 0) where the file states no size."""
    boxes: dict[int, Boxes]
    """Boxes by image id. An image without people may be absent."""

    @property
    def image_ids(self) -> set[int]:
        """Ids of all images that the file mentions."""
        return {*self.image_wh, *self.boxes}

    def image_id(self, path: PurePosixPath) -> int | None:
        """Return the id of the image at that path, or None where the file does not know it.

        In an annotations file it is the image whose `file_name` the path ends with, the longest if several do. A list of
        detections has ids only: there it is the number that the name ends with, as COCO names its images
        (000000397133.jpg, COCO_val2014_000000397133.jpg).
        """
        if self.image_of_name is None:
            digits = re.search(r"[0-9]{1,18}$", path.stem)
            return int(digits[0]) if digits and int(digits[0]) in self.boxes else None
        for start in range(len(path.parts)):
            image_id = self.image_of_name.get("/".join(path.parts[start:]))
            if image_id is not None:
                return image_id
        return None


def whole_image_box(width: int, height: int) -> Boxes:
    """Return the whole image as the box of one person."""
    return Boxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))


def read_box_file(path: str | os.PathLike[str], person: int | None = None, warn: Warn = lambda line: None) -> BoxFile:
    """Read COCO annotations (an object with `images`) or COCO detections (a list); UserError on anything malformed.

    Only people are kept: annotations of the category `person` (or of the only category) that are no crowds, and detections of
    category 1 (or of the only one there is), or all of the category `person` where that is given. `warn` gets a line for the
    others. An annotation may have a `score`, as those that `pipeline predict` writes.
    """
    document = read_json(path)
    if isinstance(document, list):
        detections = read_detections(path, None if person is None else {person}, warn)
        boxes = _by_image(detections.image_id, detections.box, detections.score)
        return BoxFile(Path(path), None, {}, boxes)
    images = images_by_id(document, path)
    image_of_name: dict[str, int] = {}
    for image_id, (name, _) in images.items():
        plain = str(PurePosixPath(name.replace("\\", "/")))
        if plain in image_of_name:
            fail((path, "image", image_id), "every `file_name` once", Phrase(f"{name!r} twice"))
        image_of_name[plain] = image_id
    persons = set(person_categories(document, path, None)) if person is None else {person}
    boxes = _by_image(*_annotated(document, path, images, persons, warn))
    return BoxFile(Path(path), image_of_name, {key: wh for key, (_, wh) in images.items()}, boxes)


def boxes_inside(boxes: Boxes, width: int, height: int, warn: Callable[[str], None]) -> Boxes:
    """Return the boxes that overlap the image, unchanged; `warn` is called with a line for every other box."""
    low = boxes.xywh[:, :2]
    high = low + boxes.xywh[:, 2:]
    positive = np.all(boxes.xywh[:, 2:] > 0, axis=1)
    touching = np.all(high > 0, axis=1) & np.all(low < [width, height], axis=1)
    for row in np.flatnonzero(~(positive & touching)):
        what = f"outside the {width} x {height} image" if positive[row] else "without an area"
        warn(f"box {[round(value, 1) for value in boxes.xywh[row].tolist()]} is {what} and left out")
    return boxes[positive & touching]


def refuse_unrelated_images(file: BoxFile, paths: list[PurePosixPath]) -> None:
    """Raise UserError where the file has boxes, but for none of the images: they do not belong together."""
    if not file.image_ids or any(file.image_id(path) is not None for path in paths):
        return
    if file.image_of_name:
        example = f"file names like {next(iter(file.image_of_name))!r}"
        rule = "an image's path has to end with its file name there"
    else:
        example = f"image ids like {min(file.image_ids)}"
        rule = "in a list of detections an image's name has to end with its image id, as COCO's do"
    raise UserError(
        f"{file.path}: expected boxes of the images given, found {example} and none that is {paths[0].name!r} or another: {rule}"
    )


def _annotated(
    document: Any, path: str | os.PathLike[str], images: dict[int, Any], persons: set[int], warn: Warn
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image ids (M,), boxes (M, 4) and scores (M,) of the annotated people who are no crowds."""
    categories = annotated_categories(document, path, persons, warn)
    image_id, box, score = [], [], []
    for row, annotation in enumerate(document["annotations"]):
        where = (path, "annotations", row)
        if categories[row] not in persons or annotation.get("iscrowd"):
            continue
        image = whole_number(field(annotation, "image_id", where), where, "`image_id`")
        if image not in images:
            fail(where, "its `image_id` among `images`", image)
        image_id.append(image)
        box.append(numbers(field(annotation, "bbox", where), 4, where, "`bbox`"))
        score.append(number(annotation.get("score", 1.0), where, "`score`"))
    return np.array(image_id, np.int64), np.array(box).reshape(-1, 4), np.array(score, np.float64)


def _by_image(image_id: np.ndarray, box: np.ndarray, score: np.ndarray) -> dict[int, Boxes]:
    everything = Boxes(box, score)
    return {image: everything[np.flatnonzero(image_id == image)] for image in np.unique(image_id).tolist()}
