"""Readers of COCO's JSON format: keypoint annotations, of COCO and other datasets, and detections. No image is read, nothing scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.common.files import FilePath
from pipeline.people.people import People
from pipeline.people.validation import Phrase, entries, fail, field, file_name, number, numbers, read_json, whole_number
from pipeline.pose.skeletons import ALIASES, COCO17, Skeleton

PERSON_CATEGORY = 1
"""COCO's category id of people, by which detections are filtered."""

ImagesById = dict[int, tuple[str, tuple[int, int]]]
"""Image id to file name and (width, height) in pixels; (0, 0) if the file states no size."""


@dataclass(frozen=True)
class Detections:
    """M person boxes of a detector."""

    image_id: np.ndarray
    """int64 (M,): id of the image, see People."""
    box: np.ndarray
    """float64 (M, 4): x, y, width, height in image pixels."""
    score: np.ndarray
    """float64 (M,): confidence of the detector, usually 0-1."""


def read_coco(path: FilePath, skeleton: Skeleton = COCO17, area_share: float = 1.0) -> People:
    """Read every person annotation of a COCO keypoints file, in the file's order (cocodataset.org, data format).

    Persons are the categories named `person`, or the only category there is. If the category lists its keypoints, they are
    matched by name, in any order, with the spellings of AIC and CrowdPose too. `keypoints` are x, y, v triplets in 0-based
    pixels, v > 0 = labelled. An annotation without `iscrowd` is no crowd, one without `area` has `area_share` x its box's.
    `use`: no crowd, a positive box, a labelled keypoint; if the whole file labels none, every such box.
    UserError on anything malformed.
    """
    document = read_json(path)
    orders = person_categories(document, path, skeleton)
    return people_from_coco(document, path, skeleton, orders, allowed=(len(skeleton),), area_share=area_share)


def people_from_coco(
    document: Any,
    path: FilePath,
    skeleton: Skeleton,
    orders: dict[int, list[int]],
    allowed: Sequence[int],
    area_share: float = 1.0,
) -> People:
    """Make the people of a parsed COCO document, which came from `path`.

    `orders` has, for each person category, the position in the file of each keypoint of `skeleton`. `allowed` are the numbers
    of keypoints that an annotation may have; if it is empty, keypoints are not read. `area_share` is as in `read_coco`.
    """
    images = images_by_id(document, path)
    annotations = []
    for row, annotation in enumerate(entries(document, "annotations", str(path))):
        where = (path, "annotations", row)
        category = whole_number(field(annotation, "category_id", where), where, "`category_id`")
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
        person[i] = whole_number(
            field(annotation, "id", (path, "annotations", row)), (path, "annotations", row), "`id`"
        )
        where = (path, "annotation", person[i])
        if int(person[i]) in seen:
            fail(where, "every annotation id once", Phrase("it twice"))
        seen.add(int(person[i]))
        image_id[i] = whole_number(field(annotation, "image_id", where), where, "`image_id`")
        if int(image_id[i]) not in images:
            fail(where, "its `image_id` among `images`", int(image_id[i]))
        name, wh = images[int(image_id[i])]
        image.append(name)
        image_wh[i] = wh
        box[i] = numbers(field(annotation, "bbox", where), 4, where, "`bbox`")
        positive = area_share * max(box[i, 2], 0.0) * max(box[i, 3], 0.0)
        stated = annotation.get("area")
        area[i] = positive if stated is None else number(stated, where, "`area`", most=1e16)
        crowd[i] = whole_number(annotation.get("iscrowd", 0), where, "`iscrowd`", most=1)
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


def read_coco_images(path: FilePath) -> ImagesById:
    """Read all images of a COCO file, also those without people, on which the official evaluation counts false detections too."""
    return images_by_id(read_json(path), path)


def read_triplets(value: Any, where: tuple[object, ...], allowed: Sequence[int]) -> np.ndarray | None:
    """Return keypoints x, y, v, float64 (K, 3), or None if the annotation has none; UserError unless K is one of `allowed`."""
    if value is None or value == []:
        return None
    flat = numbers(value, None, where, "`keypoints`")
    if len(flat) not in [3 * k for k in allowed]:
        found = f"{len(flat) // 3}" if len(flat) % 3 == 0 else f"{len(flat)} numbers, no multiple of 3"
        fail(where, f"{' or '.join(str(k) for k in allowed)} keypoints", Phrase(found))
    return flat.reshape(-1, 3)


def images_by_id(document: Any, path: FilePath) -> ImagesById:
    """Return the images that a parsed COCO document lists."""
    images: ImagesById = {}
    for row, image in enumerate(entries(document, "images", str(path))):
        key = whole_number(field(image, "id", (path, "images", row)), (path, "images", row), "`id`")
        where = (path, "image", key)
        if key in images:
            fail(where, "every image id once", Phrase("it twice"))
        name = file_name(field(image, "file_name", where), where)
        wh = (0, 0)
        if "width" in image or "height" in image:
            width, height = (
                whole_number(field(image, side, where), where, f"`{side}`", 1, 10**6) for side in ("width", "height")
            )
            wh = (width, height)
        images[key] = (name, wh)
    return images


def person_categories(document: Any, path: FilePath, skeleton: Skeleton | None) -> dict[int, list[int]]:
    """Return the ids of person categories, each with the position in the file of every keypoint of `skeleton` ([] if None)."""
    categories = entries(document, "categories", str(path))
    persons: dict[int, list[int]] = {}
    for row, category in enumerate(categories):
        where = (path, "categories", row)
        key = whole_number(field(category, "id", where), where, "`id`")
        if category.get("name") == "person" or len(categories) == 1:
            persons[key] = keypoint_order(category.get("keypoints"), where, skeleton) if skeleton else []
    if not persons:
        names = [category.get("name") for category in categories]
        fail(str(path), "a category named `person`", names)
    return persons


def keypoint_order(names: Any, where: tuple[object, ...], skeleton: Skeleton) -> list[int]:
    """Return the position of each keypoint of `skeleton` among the category's names; the skeleton's order if it lists none."""
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


def read_detections(path: FilePath) -> Detections:
    """Read the person boxes (category 1) of a COCO detections file, in the file's order; UserError on anything malformed."""
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of detections", document)
    image_id: list[int] = []
    box: list[np.ndarray] = []
    score: list[float] = []
    for row, detection in enumerate(document):
        where = (path, "detection", row)
        if field(detection, "category_id", where) != PERSON_CATEGORY:
            continue
        image_id.append(whole_number(field(detection, "image_id", where), where, "`image_id`"))
        box.append(numbers(field(detection, "bbox", where), 4, where, "`bbox`"))
        score.append(number(field(detection, "score", where), where, "`score`"))
    return Detections(np.array(image_id, np.int64), np.array(box).reshape(-1, 4), np.array(score, np.float64))
