"""Reader of MPII's official release file, `mpii_human_pose_v1_u12_1.mat`. Its JSON copies are read elsewhere."""

import os
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.people.matlab import read_mat
from pipeline.people.mpii import FIRST_PIXEL, region
from pipeline.people.parse import LARGEST, Phrase, Where, fail, file_name, is_finite
from pipeline.people.people import People
from pipeline.skeletons import MPII16

PEOPLE_PER_PICTURE = 100
"""Person ids are picture position x 100 + position of the person in it, so that they survive any filter."""

PARTS = {"train": 1, "test": 0}
"""What `img_train` says about a picture of either part; the test part has no labels."""

CORNERS = ("x1", "y1", "x2", "y2")


def read_mpii_release(path: str | os.PathLike[str], part: str = "train") -> People:
    """Every person of one part, in the file's order (human-pose.mpi-inf.mpg.de, annotation description).

    The file counts pixels from 1, the result from 0. `image_id` is the picture's position in `annolist`, `person` is
    `image_id` x 100 + the person's position in it. Point ids 0-15 are MPII16's order; every point given is labelled
    (`is_visible` tells occluded ones, head points have none). People without points, scale or position stay in, unused.
    `image_wh` is (0, 0): the format states no size. UserError on anything malformed and on MATLAB's version 7.3.
    """
    if part not in PARTS:
        raise UserError(f"unknown part `{part}` of MPII: expected one of {', '.join(PARTS)}")
    release = read_mat(path, structs=True).get("RELEASE")
    if not hasattr(release, "_fieldnames"):
        fail(str(path), "the struct `RELEASE`", Phrase("none"))
    pictures = members(release, "annolist")
    training = np.ravel(getattr(release, "img_train", ())).tolist()
    if any(value not in PARTS.values() for value in training):
        fail(str(path), "`img_train` of 0 and 1", next(v for v in training if v not in PARTS.values()))
    if len(training) != len(pictures):
        fail(str(path), f"`img_train` for {len(pictures)} pictures", Phrase(str(len(training))))

    people: list[dict[str, Any]] = []
    for i, (picture, is_training) in enumerate(zip(pictures, training, strict=True)):
        if is_training != PARTS[part]:
            continue
        where = (path, "annolist", i)
        persons = members(picture, "annorect")
        if len(persons) > PEOPLE_PER_PICTURE:
            fail(where, f"at most {PEOPLE_PER_PICTURE} people", Phrase(str(len(persons))))
        for j, person in enumerate(persons):
            row = read_person(person, (path, "annolist", i, "person", j))
            row["image"] = file_name(getattr(getattr(picture, "image", None), "name", None), where)
            people.append(row | {"image_id": i, "person": i * PEOPLE_PER_PICTURE + j})
    return assemble(people)


def read_person(person: Any, where: Where) -> dict[str, Any]:
    """One `annorect`: keypoints, labelled, head_box, centre, scale; NaN where it lacks one of the last three."""
    keypoints, labelled = np.zeros((len(MPII16), 2)), np.zeros(len(MPII16), bool)
    for points in members(person, "annopoints"):
        for point in members(points, "point"):
            k = scalar(point, "id", where)
            if k not in range(len(MPII16)):
                fail(where, f"point ids 0 to {len(MPII16) - 1}", k)
            xy = np.array([scalar(point, "x", where), scalar(point, "y", where)])
            if np.isnan(xy).any():
                fail(where, f"x and y of {MPII16.keypoints[int(k)]}", Phrase("none"))
            keypoints[int(k)], labelled[int(k)] = xy - FIRST_PIXEL, True
    centre = np.full(2, np.nan)
    for position in members(person, "objpos"):
        centre = np.array([scalar(position, "x", where), scalar(position, "y", where)])
    return {
        "keypoints": keypoints,
        "labelled": labelled,
        "head_box": np.array([scalar(person, corner, where) for corner in CORNERS]) - FIRST_PIXEL,
        "centre": centre - FIRST_PIXEL,
        "scale": scalar(person, "scale", where),
    }


def assemble(people: list[dict[str, Any]]) -> People:
    """The table of those rows."""
    n, k = len(people), len(MPII16)

    def column(key: str, shape: tuple[int, ...], kind: type) -> np.ndarray:
        return np.array([person[key] for person in people], dtype=kind).reshape(n, *shape)

    scale, centre = column("scale", (), np.float64), column("centre", (2,), np.float64)
    labelled = column("labelled", (k,), np.bool_)
    head_box = column("head_box", (4,), np.float64)
    head_box[np.isnan(head_box).any(axis=1)] = np.nan
    placed = (scale > 0) & ~np.isnan(centre).any(axis=1)
    box = np.where(placed[:, None], region(centre, scale), 0.0)
    return People(
        skeleton=MPII16,
        person=column("person", (), np.int64),
        image=column("image", (), np.str_),
        image_id=column("image_id", (), np.int64),
        image_wh=np.zeros((n, 2), np.int32),
        box=box,
        area=box[:, 2] * box[:, 3],
        crowd=np.zeros(n, bool),
        use=placed & labelled.any(axis=1),
        keypoints=column("keypoints", (k, 2), np.float64),
        labelled=labelled,
        head_box=head_box,
    )


def members(struct: Any, name: str) -> list[Any]:
    """The structs in a field: scipy gives one as itself, several as an array, none as an empty array or not at all."""
    value = getattr(struct, name, None)
    found = list(value.ravel()) if isinstance(value, np.ndarray) and value.dtype == object else [value]
    return [one for one in found if hasattr(one, "_fieldnames")]


def scalar(struct: Any, name: str, where: Where) -> float:
    """A number in a field, given as a number or its text; NaN where the field is absent or empty."""
    value = getattr(struct, name, None)
    if value is None or (isinstance(value, np.ndarray) and value.size == 0):
        return float("nan")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            fail(where, f"`{name}` to be a number", value)
    if not is_finite(value) or abs(value) > LARGEST:
        fail(where, f"`{name}` to be a finite number", value)
    return float(value)
