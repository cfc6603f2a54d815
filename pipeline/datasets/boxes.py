"""Reader of person boxes without labels: the annotations of a COCO file, a student's predictions, or a list of detections."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.common.files import FilePath
from pipeline.datasets.coco import Warn, images_by_id, people_from_coco, person_categories, read_detections
from pipeline.people.people import People
from pipeline.people.validation import Phrase, entries, fail, number, read_json
from pipeline.pose.skeletons import NO_SKELETON

ONLY_CATEGORY = 0
"""Category id given to all annotations of a file that has no `categories`."""


def read_boxes(
    path: FilePath,
    detections: FilePath | None = None,
    min_score: float = 0.0,
    warn: Warn = lambda line: None,
    people: Collection[str] = (),
) -> People:
    """Read every person box of a COCO file, in NO_SKELETON; keypoints, if there are any, are not read.

    Persons are the categories whose names `people` has; without it those named `person`, the only category there is, or all
    annotations of a file without `categories`.
    With `detections` (in the format of `read_detections`) boxes come from that list, and the COCO file only lists the images:
    boxes on other images are left out, and people are numbered by their position in the list. `use`: no crowd, a positive box,
    a `score`, 1 if absent, of at least `min_score`. `warn` gets a line for those that are of no person.
    UserError on anything malformed.
    """
    document = read_json(path)
    if people and isinstance(document, dict) and not document.get("categories"):
        fail(str(path), f"`categories`, to know which are {' or '.join(people)}", Phrase("none"))
    if detections is not None:
        return _detected(document, path, detections, min_score, warn, people)
    if isinstance(document, dict) and "categories" not in document:
        annotations = [
            {**entry, "category_id": ONLY_CATEGORY} if isinstance(entry, dict) else entry
            for entry in entries(document, "annotations", str(path))
        ]
        document = {**document, "annotations": annotations}
        persons: dict[int, list[int]] = {ONLY_CATEGORY: []}
    else:
        persons = person_categories(document, path, None, people)
    read = people_from_coco(document, path, NO_SKELETON, persons, allowed=(), area_share=1.0, warn=warn)
    scores = {
        entry["id"]: number(entry.get("score", 1.0), (path, "annotation", entry["id"]), "`score`")
        for entry in document["annotations"]
        if entry["category_id"] in persons
    }
    return replace(read, use=read.use & np.array([scores[key] >= min_score for key in read.person.tolist()], bool))


def _detected(
    document: Any, listing: FilePath, path: FilePath, min_score: float, warn: Warn, people: Collection[str]
) -> People:
    images = images_by_id(document, listing)
    persons = person_categories(document, listing, None, people) if document.get("categories") else None
    detections = read_detections(path, persons, warn)
    listed = np.flatnonzero(np.isin(detections.image_id, list(images)))
    image_id, box = detections.image_id[listed], detections.box[listed]
    n = len(listed)
    return People(
        skeleton=NO_SKELETON,
        person=listed.astype(np.int64),
        image=np.array([images[key][0] for key in image_id.tolist()], np.str_),
        image_id=image_id,
        image_wh=np.array([images[key][1] for key in image_id.tolist()], np.int32).reshape(n, 2),
        box=box,
        area=box[:, 2:].clip(0).prod(axis=1),
        crowd=np.zeros(n, bool),
        use=(box[:, 2:] > 0).all(axis=1) & (detections.score[listed] >= min_score),
        keypoints=np.zeros((n, 0, 2)),
        labelled=np.zeros((n, 0), bool),
        head_box=np.full((n, 4), np.nan),
    )
