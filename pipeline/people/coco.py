"""Readers of COCO's JSON format: keypoint annotations, COCO's or others', and detections. No pictures, no scores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.people.parse import Phrase, entries, fail, field, file_name, number, numbers, read_json, whole
from pipeline.people.people import People
from pipeline.skeletons import ALIASES, COCO17, Skeleton

SIDES = ("width", "height")

PERSON = 1
"""COCO's category id of people, the one that detections are filtered by."""

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Detections:
    """M person boxes that a detector found."""

    image_id: np.ndarray
    """int64 (M,)."""
    box: np.ndarray
    """float64 (M, 4): x, y, width, height in image pixels."""
    score: np.ndarray
    """float64 (M,): the detector's confidence, usually 0-1."""


def read_coco(path: Path, skeleton: Skeleton = COCO17, body: float = 1.0) -> People:
    """Every person annotation of a COCO keypoints file, in the file's order (cocodataset.org, data format).

    Persons are the categories named `person`, or the only category there is. Where the category lists its keypoints,
    they are matched by name, in any order, as AIC and CrowdPose spell them too. `keypoints` are x, y, v triplets in
    0-based pixels, v > 0 = labelled. An annotation without `iscrowd` is no crowd, one without `area` has `body` x its box's.
    `use`: no crowd, positive box, a labelled keypoint; where the whole file labels none, every such box.
    UserError on anything malformed.
    """
    document = read_json(path)
    orders = person_categories(document, path, skeleton)
    return people_from_coco(document, path, skeleton, orders, allowed=(len(skeleton),), body=body)


def people_from_coco(
    document: Any,
    path: Path,
    skeleton: Skeleton,
    orders: dict[int, list[int]],
    allowed: Sequence[int],
    body: float = 1.0,
) -> People:
    """People of a parsed COCO document; `orders`: per person category, where the file keeps each of our keypoints.

    `body`: the share of its box that stands for a person's area where the file states none. Without keypoints `allowed` in the
    file none are read.
    """
    pictures = pictures_by_id(document, path)
    annotations = []
    for row, annotation in enumerate(entries(document, "annotations", str(path))):
        where = (path, "annotations", row)
        category = whole(field(annotation, "category_id", where), where, "`category_id`")
        if category in orders:
            annotations.append((row, category, annotation))

    n, k = len(annotations), len(skeleton)
    person, image_id = np.zeros(n, np.int64), np.zeros(n, np.int64)
    image: list[str] = []
    image_wh = np.zeros((n, 2), np.int32)
    box, area, crowd = np.zeros((n, 4)), np.zeros(n), np.zeros(n, bool)
    keypoints, labelled = np.zeros((n, k, 2)), np.zeros((n, k), bool)
    seen: set[int] = set()
    for i, (row, category, annotation) in enumerate(annotations):
        person[i] = whole(field(annotation, "id", (path, "annotations", row)), (path, "annotations", row), "`id`")
        where = (path, "annotation", person[i])
        if int(person[i]) in seen:
            fail(where, "every annotation id once", Phrase("it twice"))
        seen.add(int(person[i]))
        image_id[i] = whole(field(annotation, "image_id", where), where, "`image_id`")
        if int(image_id[i]) not in pictures:
            fail(where, "its `image_id` among `images`", int(image_id[i]))
        name, wh = pictures[int(image_id[i])]
        image.append(name)
        image_wh[i] = wh
        box[i] = numbers(field(annotation, "bbox", where), 4, where, "`bbox`")
        positive = body * max(box[i, 2], 0.0) * max(box[i, 3], 0.0)
        stated = annotation.get("area")
        area[i] = positive if stated is None else number(stated, where, "`area`", most=1e16)
        crowd[i] = whole(annotation.get("iscrowd", 0), where, "`iscrowd`", most=1)
        triplets = read_triplets(annotation.get("keypoints"), where, allowed) if allowed else None
        if triplets is not None:
            triplets = triplets[orders[category]]
            labelled[i] = triplets[:, 2] > 0
            keypoints[i][labelled[i]] = triplets[labelled[i], :2]

    use = ~crowd & (box[:, 2:] > 0).all(axis=1)
    if labelled.any():
        use &= labelled.any(axis=1)
    return People(
        skeleton=skeleton,
        person=person,
        image=np.array(image, dtype=np.str_),
        image_id=image_id,
        image_wh=image_wh,
        box=box,
        area=area,
        crowd=crowd,
        use=use,
        keypoints=keypoints,
        labelled=labelled,
        head_box=np.full((n, 4), np.nan),
    )


def read_coco_pictures(path: Path) -> dict[int, tuple[str, tuple[int, int]]]:
    """Picture id to file name and (width, height) of all pictures of a COCO file, those without people included.

    The official evaluation counts false detections on the latter too.
    """
    return pictures_by_id(read_json(path), path)


def read_triplets(value: Any, where: tuple[object, ...], allowed: Sequence[int]) -> np.ndarray | None:
    """Float64 (K, 3): x, y, v; None where the annotation has none. K must be one of `allowed`."""
    if value is None or value == []:
        return None
    flat = numbers(value, None, where, "`keypoints`")
    if len(flat) not in [3 * k for k in allowed]:
        found = f"{len(flat) // 3}" if len(flat) % 3 == 0 else f"{len(flat)} numbers, no multiple of 3"
        fail(where, f"{' or '.join(str(k) for k in allowed)} keypoints", Phrase(found))
    return flat.reshape(-1, 3)


def pictures_by_id(document: Any, path: Path) -> dict[int, tuple[str, tuple[int, int]]]:
    """Picture id to file name and (width, height); (0, 0) where the file states neither."""
    pictures: dict[int, tuple[str, tuple[int, int]]] = {}
    for row, picture in enumerate(entries(document, "images", str(path))):
        key = whole(field(picture, "id", (path, "images", row)), (path, "images", row), "`id`")
        where = (path, "image", key)
        if key in pictures:
            fail(where, "every image id once", Phrase("it twice"))
        name = file_name(field(picture, "file_name", where), where)
        wh = (0, 0)
        if "width" in picture or "height" in picture:
            width, height = (whole(field(picture, side, where), where, f"`{side}`", 1, 10**6) for side in SIDES)
            wh = (width, height)
        pictures[key] = (name, wh)
    return pictures


def person_categories(document: Any, path: Path, skeleton: Skeleton | None) -> dict[int, list[int]]:
    """Person category ids, each with where the file keeps every keypoint of `skeleton` ([] for None)."""
    categories = entries(document, "categories", str(path))
    found: dict[int, list[int]] = {}
    for row, category in enumerate(categories):
        where = (path, "categories", row)
        key = whole(field(category, "id", where), where, "`id`")
        if category.get("name") == "person" or len(categories) == 1:
            found[key] = keypoint_order(category.get("keypoints"), where, skeleton) if skeleton else []
    if not found:
        names = [category.get("name") for category in categories]
        fail(str(path), "a category named `person`", names)
    return found


def keypoint_order(names: Any, where: tuple[object, ...], skeleton: Skeleton) -> list[int]:
    """For each keypoint of `skeleton` its position among the category's names; our own order if it lists none."""
    if names is None or names == []:
        return list(range(len(skeleton)))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        fail(where, "`keypoints` to be a list of names", names)
    if len(names) != len(skeleton):
        fail(where, f"the {len(skeleton)} keypoints of {skeleton.name}", Phrase(f"{len(names)}"))
    plain = [name.strip().lower().replace(" ", "_") for name in names]
    plain = [name if name in skeleton.keypoints else ALIASES.get(name, name) for name in plain]
    for keypoint in skeleton.keypoints:
        if plain.count(keypoint) != 1:
            fail(where, f"`{keypoint}` once among the keypoints, as {skeleton.name} has it", names)
    return [plain.index(keypoint) for keypoint in skeleton.keypoints]


def read_detections(path: Path) -> Detections:
    """The person boxes (category 1) of a COCO detections file, in the file's order; UserError on anything malformed."""
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of detections", document)
    image_id: list[int] = []
    box: list[np.ndarray] = []
    score: list[float] = []
    for row, detection in enumerate(document):
        where = (path, "detection", row)
        if field(detection, "category_id", where) != PERSON:
            continue
        image_id.append(whole(field(detection, "image_id", where), where, "`image_id`"))
        box.append(numbers(field(detection, "bbox", where), 4, where, "`bbox`"))
        score.append(number(field(detection, "score", where), where, "`score`"))
    return Detections(np.array(image_id, np.int64), np.array(box).reshape(-1, 4), np.array(score, np.float64))
