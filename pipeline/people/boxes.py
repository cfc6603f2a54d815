"""Reader of pictures with person boxes and no labels: a COCO file's annotations, a student's predictions, or a list of detections."""

from dataclasses import replace

import numpy as np

from pipeline.people.coco import Path, people_from_coco, person_categories, pictures_by_id, read_detections
from pipeline.people.parse import entries, number, read_json
from pipeline.people.people import People
from pipeline.skeletons import NO_SKELETON

EVERYBODY = 0
"""Category given to the annotations of a file that has no `categories`."""


def read_boxes(path: Path, detections: Path | None = None, least: float = 0.0) -> People:
    """Every person box of a COCO file, in NO_SKELETON; keypoints, if it has some, are not read.

    Persons are the categories named `person`, the only category there is, or, in a file without `categories`, everybody. With
    `detections` (`read_detections`' format) the boxes are those of that list and the file only says which pictures there are:
    boxes on others are left out, and people are numbered by their position in the list. `use`: no crowd, positive box, a `score`
    of at least `least`, which counts as 1 where there is none. UserError on anything malformed.
    """
    document = read_json(path)
    if detections is not None:
        return _detected(pictures_by_id(document, path), detections, least)
    if isinstance(document, dict) and "categories" not in document:
        everybody = [
            {**one, "category_id": EVERYBODY} if isinstance(one, dict) else one
            for one in entries(document, "annotations", str(path))
        ]
        document = {**document, "annotations": everybody}
        persons: dict[int, list[int]] = {EVERYBODY: []}
    else:
        persons = person_categories(document, path, None)
    people = people_from_coco(document, path, NO_SKELETON, persons, allowed=())
    scores = {
        one["id"]: number(one.get("score", 1.0), (path, "annotation", one["id"]), "`score`")
        for one in document["annotations"]
        if one["category_id"] in persons
    }
    return replace(people, use=people.use & np.array([scores[key] >= least for key in people.person.tolist()], bool))


def _detected(pictures: dict[int, tuple[str, tuple[int, int]]], path: Path, least: float) -> People:
    found = read_detections(path)
    there = np.flatnonzero(np.isin(found.image_id, list(pictures)))
    image_id, box = found.image_id[there], found.box[there]
    n = len(there)
    return People(
        skeleton=NO_SKELETON,
        person=there.astype(np.int64),
        image=np.array([pictures[key][0] for key in image_id.tolist()], np.str_),
        image_id=image_id,
        image_wh=np.array([pictures[key][1] for key in image_id.tolist()], np.int32).reshape(n, 2),
        box=box,
        area=box[:, 2:].clip(0).prod(axis=1),
        crowd=np.zeros(n, bool),
        use=(box[:, 2:] > 0).all(axis=1) & (found.score[there] >= least),
        keypoints=np.zeros((n, 0, 2)),
        labelled=np.zeros((n, 0), bool),
        head_box=np.full((n, 4), np.nan),
    )
