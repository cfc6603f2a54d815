"""Reads what the people table leaves out of an annotation file: which labelled keypoints are hidden, a COCO file's other fields."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.datasets.coco import people_from_coco, person_categories
from pipeline.datasets.halpe import FULL_BODY, halpe_orders
from pipeline.datasets.matlab import read_mat
from pipeline.datasets.mpii_release import PEOPLE_PER_IMAGE, scalar_field, struct_members
from pipeline.people.people import People
from pipeline.people.validation import read_json
from pipeline.pose.skeletons import HALPE26

HIDDEN, VISIBLE = 1, 2
"""COCO's `v` of labelled keypoints. 0 is not labelled."""

PEOPLE_CHANGED = "{}: its people are not those of the people table any more: run `pipeline prepare`"


@dataclass(frozen=True)
class SourceAnnotations:
    """Further fields of the annotation file, for the N people of a table, in the order of its rows."""

    visibility: np.ndarray
    """int64 (N, K): `v`; VISIBLE where the format does not tell."""
    annotations: Sequence[dict[str, Any]]
    """N entries of a COCO file; empty ones where the format has none."""
    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Image entries of a COCO file by `image_id`."""
    licenses: list[Any] = field(default_factory=list)


def default_annotations(people: People) -> SourceAnnotations:
    """Return the annotations of a format without further fields."""
    return SourceAnnotations(VISIBLE * people.labelled.astype(np.int64), [{}] * len(people))


def coco_annotations(path: FilePath, people: People, categories: Collection[str] = ()) -> SourceAnnotations:
    """Read the further fields of a COCO file, or of Halpe's where that is the people's skeleton.

    `categories` are the names of the categories of people, as in `read_coco`.

    UserError where the file's people differ from those of the table in any number.
    """
    document = read_json(path)
    count = len(people.skeleton)
    is_halpe = people.skeleton == HALPE26
    orders = (
        halpe_orders(document, path) if is_halpe else person_categories(document, path, people.skeleton, categories)
    )
    read = people_from_coco(document, path, people.skeleton, orders, (FULL_BODY, count) if is_halpe else (count,))
    at = {person: row for row, person in enumerate(read.person.tolist())}
    rows = np.array([at.get(person, -1) for person in people.person.tolist()], np.int64)
    columns = ("labelled", "keypoints", "box", "crowd", "image", "image_id")
    if (rows < 0).any() or not all(np.array_equal(getattr(read, c)[rows], getattr(people, c)) for c in columns):
        raise UserError(PEOPLE_CHANGED.format(path))
    by_id = {int(entry["id"]): entry for entry in document["annotations"] if entry["category_id"] in orders}
    annotations = [by_id[person] for person in people.person.tolist()]
    third = np.zeros(people.labelled.shape)
    for row, entry in enumerate(annotations):
        if people.labelled[row].any():
            third[row] = np.array(entry["keypoints"][2::3])[orders[entry["category_id"]]]
    licenses = document.get("licenses")
    return SourceAnnotations(
        visibility(third, people.labelled),
        annotations,
        {int(entry["id"]): entry for entry in document["images"]},
        licenses if isinstance(licenses, list) else [],
    )


def visibility(third: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return `v`, int64 (N, K), of the third numbers of labelled keypoints (N, K).

    Where one of them is neither HIDDEN nor VISIBLE, they are confidences, as in COCO-WholeBody's files, which do not tell.
    """
    if np.isin(third[labelled], (HIDDEN, VISIBLE)).all():
        return np.where(labelled, third, 0).astype(np.int64)
    return VISIBLE * labelled.astype(np.int64)


def mpii_release_annotations(path: FilePath, people: People) -> SourceAnnotations:
    """Read MPII's release file: a joint with `is_visible` 0 is hidden; head points, which have no such flag, count as visible."""
    images = struct_members(read_mat(path, structs=True).get("RELEASE"), "annolist")
    visibility = VISIBLE * people.labelled.astype(np.int64)
    for row, number in enumerate(people.person.tolist()):
        image, person = divmod(number, PEOPLE_PER_IMAGE)
        persons = struct_members(images[image], "annorect") if image < len(images) else []
        if person >= len(persons):
            raise UserError(PEOPLE_CHANGED.format(path))
        where = (path, "annolist", image, "person", person)
        for points in struct_members(persons[person], "annopoints"):
            for point in struct_members(points, "point"):
                if scalar_field(point, "is_visible", where) == 0:
                    visibility[row, int(scalar_field(point, "id", where))] = HIDDEN
    return SourceAnnotations(visibility * people.labelled, [{}] * len(people))
