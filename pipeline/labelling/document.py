"""Writes filled people as a COCO document. Fills nothing, reads and writes no files."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.datasets.coco import PERSON_CATEGORY
from pipeline.datasets.coco_document import CONFIDENCES, person_category
from pipeline.labelling.fill import LABEL_SOURCE, NO_SOURCE, FilledPeople
from pipeline.labelling.source import HIDDEN, VISIBLE, SourceAnnotations
from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton

SOURCES_FIELD = "keypoint_sources"
"""Field of an annotation: the source of each keypoint as a text, empty where the keypoint is missing."""
PERSON_FIELD = "person"
"""Field of an annotation: the person's id in the people table, as `pipeline show` takes it."""


def filled_document(
    people: People,
    source: SourceAnnotations,
    filled: FilledPeople,
    skeleton: Skeleton,
    info: dict[str, Any],
    shifts: tuple[int, int] = (0, 0),
    advance: Callable[[int], object] = int,
) -> dict[str, Any]:
    """Return the COCO document of all people of a table, crowds and unlabelled people included, and of their images.

    Fields that are not listed here are those of the source. `shifts` are added to its ids of annotations and of images, as
    pycocotools takes an id of 0 for no match. `keypoints` are the unchanged numbers of the labels with
    the source's `v`; filled ones are rounded to hundredths of a pixel. The `v` of a filled keypoint is VISIBLE where the dataset
    never labels the keypoint, and HIDDEN where it does, since annotators most often leave out what cannot be seen: a network does
    not tell the two apart. `num_keypoints` counts labelled and filled ones. `advance` is called with the number of people done.
    """
    shift, image_shift = shifts
    images: dict[int, dict[str, Any]] = {}
    for image_id, name, wh in zip(
        people.image_id.tolist(), people.image.tolist(), people.image_wh.tolist(), strict=True
    ):
        if image_id not in images:
            own = {"id": image_id + image_shift, "file_name": name, "width": wh[0], "height": wh[1]}
            images[image_id] = {**source.images.get(image_id, {}), **own}
    positions = skeleton.positions_in(people.skeleton)
    visibility = skeleton.arranged(source.visibility, people.skeleton)
    if_filled = np.where(positions >= 0, HIDDEN, VISIBLE).tolist()
    if not people.labelled.any():  # boxes only: no annotator has left anything out
        if_filled = [VISIBLE] * len(skeleton)
    annotations = []
    for row in range(len(people)):
        annotations.append(
            {
                "bbox": people.box[row].tolist(),
                "area": float(people.area[row]),
                "segmentation": [],
                **_usable(source.annotations[row], float(people.area[row])),
                **_keypoints(filled, row, visibility[row].tolist(), if_filled),
                "id": int(people.person[row]) + shift,
                "image_id": int(people.image_id[row]) + image_shift,
                "category_id": PERSON_CATEGORY,
                "iscrowd": int(people.crowd[row]),
                PERSON_FIELD: int(people.person[row]),
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


def _usable(annotation: dict[str, Any], area: float) -> dict[str, Any]:
    """Return a source annotation; without its area where that is not the people table's, which does not take placeholders."""
    return {key: value for key, value in annotation.items() if key != "area" or value == area}


def _keypoints(filled: FilledPeople, row: int, visibility: list[int], if_filled: list[int]) -> dict[str, Any]:
    """Return the keypoint fields of one person; `visibility` (K,) holds the labels' `v`, `if_filled` (K,) that of filled ones."""
    triplets: list[float] = []
    sources = filled.source[row].tolist()
    for (x, y), source, label, other in zip(
        filled.keypoints[row].tolist(), sources, visibility, if_filled, strict=True
    ):
        if source == LABEL_SOURCE:
            triplets += [_short(x), _short(y), label]
        elif source == NO_SOURCE:
            triplets += [0, 0, 0]
        else:
            triplets += [round(x, 2), round(y, 2), other]
    return {
        "keypoints": triplets,
        "num_keypoints": sum(v > 0 for v in triplets[2::3]),
        SOURCES_FIELD: sources,
        CONFIDENCES: [round(value, 4) for value in filled.confidence[row].tolist()],
    }


def _short(value: float) -> float:
    """Return whole numbers as int, since COCO writes them without a decimal point."""
    return int(value) if value.is_integer() else value
