"""Readers of AI Challenger's keypoint annotations: the COCO form that MMPose distributes, and the JSON that was released."""

from typing import Any

import numpy as np

from pipeline.common.files import FilePath
from pipeline.datasets.coco import Warn, read_coco
from pipeline.people.people import People
from pipeline.people.plausibility import AREA_SHARE
from pipeline.people.validation import Phrase, fail, field, file_name, numbers, read_json
from pipeline.pose.skeletons import AIC14

NOT_LABELLED = 3
"""Third number of a keypoint in the released file: 1 visible, 2 hidden, 3 outside the image or impossible to guess."""


def read_aic(path: FilePath, warn: Warn = lambda line: None) -> People:
    """Read every person of the COCO form in AIC14, otherwise as `read_coco`; v is COCO's (0 not labelled, 1 hidden, 2 visible).

    AP of these people uses COCO's matching and ranking, as MMPose publishes it. The challenge's own score differs: it takes
    the whole box as the area, visible keypoints only, and each person's best pose whatever its score.
    """
    return read_coco(path, AIC14, warn)


def read_aic_release(path: FilePath) -> People:
    """Read every person of `keypoint_{train,validation}_annotations_*.json` in AIC14, in the file's order, which numbers them.

    The file is a list of images: `image_id` (the file's name without .jpg), `human_annotations` (name to x1, y1, x2, y2) and
    `keypoint_annotations` (name to 14 triplets), coordinates taken as 0-based, as in the COCO form. Images are numbered by
    position; `image_wh` is (0, 0), as the format has no size. `use`: a positive box, a labelled keypoint. UserError on anything
    malformed, and on a person who has a box and no keypoints, or keypoints and no box.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of images", document)
    image: list[str] = []
    image_id: list[int] = []
    boxes: list[np.ndarray] = []
    triplets: list[np.ndarray] = []
    seen: set[str] = set()
    for row, entry in enumerate(document):
        where = (path, "image", row)
        name = file_name(field(entry, "image_id", where), where) + ".jpg"
        if name in seen:
            fail(where, "every `image_id` once", Phrase(f"{name!r} twice"))
        seen.add(name)
        humans, keypoints = (_by_name(entry, key, where) for key in ("human_annotations", "keypoint_annotations"))
        alone = sorted(humans.keys() ^ keypoints.keys())
        if alone:
            fail(where, "a box and keypoints of everybody", Phrase(f"one of them of {alone[0]!r:.60}"))
        for human, box in humans.items():
            person = (*where, repr(human)[:60])
            image.append(name)
            image_id.append(row)
            boxes.append(numbers(box, 4, person, "its box"))
            triplets.append(numbers(keypoints[human], 3 * len(AIC14), person, "its keypoints").reshape(-1, 3))
    n, k = len(image), len(AIC14)
    corners, points = np.array(boxes).reshape(n, 4), np.array(triplets).reshape(n, k, 3)
    box = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    labelled = (points[:, :, 2] > 0) & (points[:, :, 2] < NOT_LABELLED)
    use = labelled.any(axis=1) & (box[:, 2] > 0) & (box[:, 3] > 0)
    return People(
        skeleton=AIC14,
        person=np.arange(n, dtype=np.int64),
        image=np.array(image, dtype=np.str_),
        image_id=np.array(image_id, np.int64),
        image_wh=np.zeros((n, 2), np.int32),
        box=box,
        area=AREA_SHARE * box[:, 2:].clip(0).prod(axis=1),
        crowd=np.zeros(n, bool),
        use=use,
        keypoints=np.where(labelled[..., None], points[:, :, :2], 0.0),
        labelled=labelled,
        head_box=np.full((n, 4), np.nan),
    )


def _by_name(entry: Any, key: str, where: tuple[object, ...]) -> dict[str, Any]:
    value = field(entry, key, where)
    if not isinstance(value, dict):
        fail(where, f"`{key}` by person", value)
    return value
