"""Filled people as a COCO document. Not here: who filled them, files."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.coco_document import CONFIDENCES, person_category
from pipeline.labels.fill import LABEL, NOBODY, Filled
from pipeline.labels.source import HIDDEN, SEEN, Source
from pipeline.people.coco import PERSON
from pipeline.people.people import People
from pipeline.skeletons import Skeleton

SOURCES = "keypoint_sources"
"""Field of an annotation: one text per keypoint, empty where it is missing."""
NUMBER = "person"
"""Field of an annotation: the person's number in the people table, as `pipeline show` takes it."""


def coco_document(
    people: People,
    source: Source,
    filled: Filled,
    skeleton: Skeleton,
    info: dict[str, Any],
    advance: Callable[[int], object] = int,
) -> dict[str, Any]:
    """All people of a table, crowds and unlabelled ones included, and the pictures they are in; other fields as in the source.

    Numbers of annotations and pictures are the source's, or one higher where it counts from 0, which pycocotools takes for no
    match. `keypoints` are the labels' very numbers with the source's `v`; filled ones are to hundredths of a pixel. Their v is SEEN
    where the dataset never labels the keypoint, and HIDDEN where it does and its annotator left this one out, most often because it
    cannot be seen; a network does not say. `num_keypoints` counts both. `advance` counts people.
    """
    shift, image_shift = (int((numbers == 0).any()) for numbers in (people.person, people.image_id))
    images: dict[int, dict[str, Any]] = {}
    for image_id, name, wh in zip(
        people.image_id.tolist(), people.image.tolist(), people.image_wh.tolist(), strict=True
    ):
        if image_id not in images:
            own = {"id": image_id + image_shift, "file_name": name, "width": wh[0], "height": wh[1]}
            images[image_id] = {**source.images.get(image_id, {}), **own}
    positions = skeleton.positions_in(people.skeleton)
    visibility = skeleton.arranged(source.visibility, people.skeleton)
    if_filled = np.where(positions >= 0, HIDDEN, SEEN).tolist()
    if not people.labelled.any():  # boxes only: nobody has left anything out
        if_filled = [SEEN] * len(skeleton)
    annotations = []
    for row in range(len(people)):
        annotations.append(
            {
                "bbox": people.box[row].tolist(),
                "area": float(people.area[row]),
                "segmentation": [],
                **source.annotations[row],
                **_keypoints(filled, row, visibility[row].tolist(), if_filled),
                "id": int(people.person[row]) + shift,
                "image_id": int(people.image_id[row]) + image_shift,
                "category_id": PERSON,
                "iscrowd": int(people.crowd[row]),
                NUMBER: int(people.person[row]),
            }
        )
        advance(1)
    return {
        "info": info,
        "licenses": source.licenses,
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [person_category(skeleton)],
    }


def _keypoints(filled: Filled, row: int, visibility: list[int], if_filled: list[int]) -> dict[str, Any]:
    """The fields about keypoints of one person; `v` of labels and of filled keypoints (K,)."""
    triplets: list[float] = []
    sources = filled.source[row].tolist()
    for (x, y), source, label, other in zip(
        filled.keypoints[row].tolist(), sources, visibility, if_filled, strict=True
    ):
        if source == LABEL:
            triplets += [_short(x), _short(y), label]
        elif source == NOBODY:
            triplets += [0, 0, 0]
        else:
            triplets += [round(x, 2), round(y, 2), other]
    return {
        "keypoints": triplets,
        "num_keypoints": sum(v > 0 for v in triplets[2::3]),
        SOURCES: sources,
        CONFIDENCES: [round(value, 4) for value in filled.confidence[row].tolist()],
    }


def _short(value: float) -> float:
    """Whole numbers without a point, as COCO writes them."""
    return int(value) if value.is_integer() else value
