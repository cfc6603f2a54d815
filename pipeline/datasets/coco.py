"""Readers of COCO's JSON format: keypoint annotations, of COCO and other datasets, and detections. No image is read, nothing scored."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.common.errors import short_repr
from pipeline.common.files import FilePath
from pipeline.people.people import People
from pipeline.people.plausibility import AREA_SHARE, usable_areas
from pipeline.people.validation import Phrase, entries, fail, field, file_name, number, numbers, read_json, whole_number
from pipeline.pose.skeletons import COCO17, Skeleton

PERSON_CATEGORY = 1
"""COCO's category id of people, which files have that are written here. Other files state theirs."""

Warn = Callable[[str], None]
"""Called with one line for what is left out."""

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


@dataclass(frozen=True)
class Listing:
    """What a COCO file lists besides its annotations."""

    images: ImagesById
    """All images, also those without people, on which the official evaluation counts false detections too."""
    persons: frozenset[int]
    """Category ids of people."""
    keypoints: tuple[str, ...] = ()
    """Names of keypoints in the file's order, as it spells them; () if the file lists none."""


def read_coco(
    path: FilePath, skeleton: Skeleton = COCO17, warn: Warn = lambda line: None, people: Collection[str] = ()
) -> People:
    """Read every person annotation of a COCO keypoints file, in the file's order (cocodataset.org, data format).

    Persons are the categories whose names `people` has; without it those named `person`, or the only category there is. If the
    category lists its keypoints, they are matched by name, in any order (`Skeleton.named`). `keypoints` are x, y, v triplets in 0-based
    pixels, v > 0 = labelled, as v may be a confidence. An annotation without `iscrowd` is no crowd; one without `area`, or with one
    that cannot be meant (`usable_areas`), of which `warn` gets a line, has AREA_SHARE x its box's.
    `use`: no crowd, a positive box, a labelled keypoint; if the whole file labels none, every such box.
    UserError on anything malformed.
    """
    document = read_json(path)
    orders = person_categories(document, path, skeleton, people)
    return people_from_coco(document, path, skeleton, orders, allowed=(len(skeleton),), warn=warn)


def people_from_coco(
    document: Any,
    path: FilePath,
    skeleton: Skeleton,
    orders: dict[int, list[int]],
    allowed: Sequence[int],
    area_share: float = AREA_SHARE,
    warn: Warn = lambda line: None,
) -> People:
    """Make the people of a parsed COCO document, which came from `path`.

    `orders` has, for each person category, the position in the file of each keypoint of `skeleton`. `allowed` are the numbers
    of keypoints that an annotation may have; if it is empty, keypoints are not read. Where no usable area is stated it
    is `area_share` x the box. `warn` is as in `read_coco`.
    """
    images = images_by_id(document, path)
    listed = entries(document, "annotations", str(path))
    categories = annotated_categories(document, path, orders, warn)
    annotations = [
        (row, category, annotation)
        for row, (category, annotation) in enumerate(zip(categories, listed, strict=True))
        if category in orders
    ]

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
        stated = annotation.get("area")
        area[i] = np.nan if stated is None else number(stated, where, "`area`", most=1e16)
        crowd[i] = whole_number(annotation.get("iscrowd", 0), where, "`iscrowd`", most=1)
        triplets = read_triplets(annotation.get("keypoints"), where, allowed) if allowed else None
        if triplets is not None:
            if max(orders[category], default=-1) >= len(triplets):
                fail(where, "the keypoints that its category lists", Phrase(f"{len(triplets)}"))
            triplets = triplets[orders[category]]
            labelled[i] = triplets[:, 2] > 0
            keypoints[i][labelled[i]] = triplets[labelled[i], :2]

    usable = usable_areas(area, box)
    unusable = np.flatnonzero(np.isfinite(area) & ~usable & (box[:, 2:] > 0).all(axis=1))
    if len(unusable):
        i = unusable[0]
        warn(
            f"{path}: `area` cannot be meant for {len(unusable)} of {n} people, who count as having none stated; first person "
            f"{person[i]} in {image[i]}: {area[i]:g} beside a box of {box[i, 2]:g} x {box[i, 3]:g}"
        )
    area = np.where(usable, area, area_share * box[:, 2].clip(0) * box[:, 3].clip(0))
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


def read_listing(path: FilePath, people: Collection[str] = ()) -> Listing:
    """Read the images of a COCO file and its categories of people, as in `read_coco`; UserError on anything malformed."""
    document = read_json(path)
    persons = person_categories(document, path, None, people)
    lists = [category.get("keypoints") for category in document["categories"] if category["id"] in persons]
    names = next((value for value in lists if isinstance(value, list) and value), [])
    return Listing(images_by_id(document, path), frozenset(persons), tuple(map(str, names)))


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
    """Return the images that a parsed COCO document lists, one that it repeats once; UserError for two of one id."""
    images: ImagesById = {}
    for row, image in enumerate(entries(document, "images", str(path))):
        key = whole_number(field(image, "id", (path, "images", row)), (path, "images", row), "`id`")
        where = (path, "image", key)
        name = file_name(field(image, "file_name", where), where)
        wh = (0, 0)
        if "width" in image or "height" in image:
            width, height = (
                whole_number(field(image, side, where), where, f"`{side}`", 1, 10**6) for side in ("width", "height")
            )
            wh = (width, height)
        if images.setdefault(key, (name, wh)) != (name, wh):
            fail(where, "one image of every id", Phrase(f"{_described(images[key])} and {_described((name, wh))}"))
    return images


def _described(image: tuple[str, tuple[int, int]]) -> str:
    name, (width, height) = image
    return short_repr(name) + (f" of {width} x {height}" if width else "")


def annotated_categories(document: Any, path: FilePath, persons: Collection[int], warn: Warn) -> list[int]:
    """Return the category of every annotation of a parsed COCO document.

    `warn` gets a line with the number of those that are not of `persons`, and their categories. UserError for one that
    `categories` lacks, and where there are annotations and none of the categories `persons`.
    """
    listed = {*persons}
    for row, category in enumerate(entries(document, "categories", str(path)) if "categories" in document else []):
        listed.add(whole_number(field(category, "id", (path, "categories", row)), (path, "categories", row), "`id`"))
    found: list[int] = []
    for row, annotation in enumerate(entries(document, "annotations", str(path))):
        where = (path, "annotations", row)
        found.append(whole_number(field(annotation, "category_id", where), where, "`category_id`"))
    unlisted = [row for row, category in enumerate(found) if category not in listed]
    if unlisted:
        fail(
            (path, "annotations", unlisted[0]),
            f"its `category_id` among `categories` ({numbered(listed)})",
            Phrase(f"{found[unlisted[0]]}, and such ids in {len(unlisted)} of {len(found)} annotations"),
        )
    if found and not any(category in persons for category in found):
        fail(str(path), f"annotations of people (category {numbered(persons)})", Phrase(f"{counted(found)}"))
    _warn_of_others(found, path, "annotation", persons, warn)
    return found


def numbered(ids: Collection[int]) -> str:
    """Return ids as a text like `1, 2`."""
    return ", ".join(map(str, sorted(ids)))


def counted(categories: Sequence[int]) -> str:
    """Return how often each category is there, as a text like `3 of category 0, 1 of category 18`."""
    return ", ".join(f"{count} of category {key}" for key, count in sorted(Counter(categories).items())[:8])


def person_categories(
    document: Any, path: FilePath, skeleton: Skeleton | None, people: Collection[str] = ()
) -> dict[int, list[int]]:
    """Return the ids of person categories, each with the position in the file of every keypoint of `skeleton` ([] if None).

    They are those whose names `people` has; without it those named `person`, or the only category there is.
    """
    categories = entries(document, "categories", str(path))
    persons: dict[int, list[int]] = {}
    for row, category in enumerate(categories):
        where = (path, "categories", row)
        key = whole_number(field(category, "id", where), where, "`id`")
        named = category.get("name") in (people or ("person",))
        if named or (len(categories) == 1 and not people):
            persons[key] = keypoint_order(category.get("keypoints"), where, skeleton) if skeleton else []
    if not persons:
        names = [category.get("name") for category in categories]
        fail(str(path), f"a category named {' or '.join(f'`{name}`' for name in people or ('person',))}", names)
    return persons


def keypoint_order(names: Any, where: tuple[object, ...], skeleton: Skeleton, allowed: Sequence[int] = ()) -> list[int]:
    """Return the position of each keypoint of `skeleton` among the category's names; the skeleton's order if it lists none.

    `allowed` are the numbers of names that there may be, by default the skeleton's. UserError where a keypoint is not among them.
    """
    if names is None or names == []:
        return list(range(len(skeleton)))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        fail(where, "`keypoints` to be a list of names", names)
    if len(names) not in (allowed or [len(skeleton)]):
        fail(where, f"the {len(skeleton)} keypoints of {skeleton.name}", Phrase(f"{len(names)}"))
    plain = [skeleton.named(name) for name in names]
    for keypoint in skeleton.keypoints:
        if plain.count(keypoint) != 1:
            fail(where, f"`{keypoint}` once among the keypoints, as {skeleton.name} has it", names)
    return [plain.index(keypoint) for keypoint in skeleton.keypoints]


def read_detections(
    path: FilePath, persons: Collection[int] | None = None, warn: Warn = lambda line: None
) -> Detections:
    """Read the person boxes of a COCO detections file, in the file's order; UserError on anything malformed.

    `persons` are the categories of people, None where no file states them. `warn` and errors are those of `person_rows`.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of detections", document)
    image_id: list[int] = []
    box: list[np.ndarray] = []
    score: list[float] = []
    for row in person_rows(document, path, "detection", persons, warn):
        detection, where = document[row], (path, "detection", row)
        image_id.append(whole_number(field(detection, "image_id", where), where, "`image_id`"))
        box.append(numbers(field(detection, "bbox", where), 4, where, "`bbox`"))
        score.append(number(field(detection, "score", where), where, "`score`"))
    return Detections(np.array(image_id, np.int64), np.array(box).reshape(-1, 4), np.array(score, np.float64))


def person_rows(
    results: list[Any], path: FilePath, what: str, persons: Collection[int] | None, warn: Warn
) -> list[int]:
    """Return the rows of a list of results, each of which is a `what`, whose `category_id` is one of people.

    Where no file states `persons`, it is COCO's 1 if the list has that, else the only category there is. `warn` gets a line with
    the number of those left out and their categories. UserError if all are.
    """
    found: list[int] = []
    for row, result in enumerate(results):
        where = (path, what, row)
        found.append(whole_number(field(result, "category_id", where), where, "`category_id`"))
    if persons is None:
        persons = {PERSON_CATEGORY}
        if len(set(found)) == 1 and PERSON_CATEGORY not in found:
            persons = set(found)
            warn(f"{path}: {counted(found)}, the only one there is: taken for people")
    rows = [row for row, category in enumerate(found) if category in persons]
    if found and not rows:
        fail(str(path), f"{what}s of people (`category_id` {numbered(persons)})", Phrase(f"{counted(found)}"))
    _warn_of_others(found, path, what, persons, warn)
    return rows


def _warn_of_others(found: Sequence[int], path: FilePath, what: str, persons: Collection[int], warn: Warn) -> None:
    others = [category for category in found if category not in persons]
    if others:
        warn(
            f"{path}: {len(others)} of {len(found)} {what}s are left out ({counted(others)}): "
            f"people are category {numbered(persons)}"
        )
