"""What an annotation file says and the people table leaves out: which labelled keypoints are hidden, a COCO file's other fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.people.coco import Path, people_from_coco, person_categories
from pipeline.people.halpe import FULL_BODY
from pipeline.people.matlab import read_mat
from pipeline.people.mpii_release import PEOPLE_PER_PICTURE, members, scalar
from pipeline.people.parse import read_json
from pipeline.people.people import People

HIDDEN, SEEN = 1, 2
"""COCO's `v` of labelled keypoints; 0 is not labelled."""


CHANGED = "{}: its people are not those of the people table any more: run `pipeline prepare`"


@dataclass(frozen=True)
class Source:
    """Of the people of a table, row by row."""

    visibility: np.ndarray
    """int64 (N, K): `v`; SEEN where the format does not tell."""
    annotations: Sequence[dict[str, Any]]
    """N entries of a COCO file, empty ones where the format has none."""
    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Entries of a COCO file by `image_id`."""
    licenses: list[Any] = field(default_factory=list)


def plain_source(people: People) -> Source:
    """Of a format that has nothing more."""
    return Source(SEEN * people.labelled.astype(np.int64), [{}] * len(people))


def coco_source(path: Path, people: People, by_name: bool = True) -> Source:
    """Of a COCO file. `by_name` off: keypoints are by position, as in Halpe's files.

    UserError where the people are not, number by number, those of the table.
    """
    document = read_json(path)
    count = len(people.skeleton)
    orders = person_categories(document, path, people.skeleton if by_name else None)
    orders = orders if by_name else {key: list(range(count)) for key in orders}
    read = people_from_coco(document, path, people.skeleton, orders, (count,) if by_name else (FULL_BODY, count))
    at = {person: row for row, person in enumerate(read.person.tolist())}
    rows = np.array([at.get(person, -1) for person in people.person.tolist()], np.int64)
    if (rows < 0).any() or not (
        np.array_equal(read.labelled[rows], people.labelled) and np.array_equal(read.keypoints[rows], people.keypoints)
    ):
        raise UserError(CHANGED.format(path))
    by_id = {int(entry["id"]): entry for entry in document["annotations"] if entry["category_id"] in orders}
    annotations = [by_id[person] for person in people.person.tolist()]
    visibility = np.zeros(people.labelled.shape, np.int64)
    for row, entry in enumerate(annotations):
        if people.labelled[row].any():
            visibility[row] = np.array(entry["keypoints"][2::3])[orders[entry["category_id"]]]
    licenses = document.get("licenses")
    return Source(
        visibility * people.labelled,
        annotations,
        {int(entry["id"]): entry for entry in document["images"]},
        licenses if isinstance(licenses, list) else [],
    )


def release_source(path: Path, people: People) -> Source:
    """Of MPII's release file: `is_visible` 0 is a hidden joint; head points, which have no such flag, count as seen."""
    pictures = members(read_mat(path, structs=True).get("RELEASE"), "annolist")
    visibility = SEEN * people.labelled.astype(np.int64)
    for row, number in enumerate(people.person.tolist()):
        picture, person = divmod(number, PEOPLE_PER_PICTURE)
        persons = members(pictures[picture], "annorect") if picture < len(pictures) else []
        if person >= len(persons):
            raise UserError(CHANGED.format(path))
        where = (path, "annolist", picture, "person", person)
        for points in members(persons[person], "annopoints"):
            for point in members(points, "point"):
                if scalar(point, "is_visible", where) == 0:
                    visibility[row, int(scalar(point, "id", where))] = HIDDEN
    return Source(visibility * people.labelled, [{}] * len(people))
