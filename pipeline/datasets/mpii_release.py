"""Reader of MPII's official release file, `mpii_human_pose_v1_u12_1.mat`. Its JSON copies are read elsewhere."""

from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.datasets.matlab import read_mat
from pipeline.datasets.mpii import FIRST_PIXEL, person_region
from pipeline.people.people import People
from pipeline.people.validation import LARGEST_COORDINATE, ErrorContext, Phrase, fail, file_name, is_finite
from pipeline.pose.skeletons import MPII16

PEOPLE_PER_IMAGE = 100
"""Person ids are image position x 100 + position of the person in the image, so that no filter changes them."""

IMG_TRAIN = {"train": 1, "test": 0}
"""Value of `img_train` for the images of either part; the test part has no labels."""

CORNERS = ("x1", "y1", "x2", "y2")


def read_mpii_release(path: FilePath, part: str = "train") -> People:
    """Read every person of one part, in the file's order (human-pose.mpi-inf.mpg.de, annotation description).

    The file counts pixels from 1, the result from 0. `image_id` is the image's position in `annolist`, `person` is
    `image_id` x 100 + the person's position in it. Point ids 0-15 are MPII16's order; every point in the file is labelled
    (`is_visible` marks occluded ones, head points lack it). People without points, scale or position are kept, not in use.
    `image_wh` is (0, 0), as the format has no size. UserError on anything malformed and on MATLAB's version 7.3.
    """
    if part not in IMG_TRAIN:
        raise UserError(f"unknown part `{part}` of MPII: expected one of {', '.join(IMG_TRAIN)}")
    release = read_mat(path, structs=True).get("RELEASE")
    if not hasattr(release, "_fieldnames"):
        fail(str(path), "the struct `RELEASE`", Phrase("none"))
    images = struct_members(release, "annolist")
    training = np.ravel(getattr(release, "img_train", ())).tolist()
    if any(value not in IMG_TRAIN.values() for value in training):
        fail(str(path), "`img_train` of 0 and 1", next(v for v in training if v not in IMG_TRAIN.values()))
    if len(training) != len(images):
        fail(str(path), f"`img_train` for {len(images)} images", Phrase(str(len(training))))

    people: list[dict[str, Any]] = []
    for i, (image, is_training) in enumerate(zip(images, training, strict=True)):
        if is_training != IMG_TRAIN[part]:
            continue
        where = (path, "annolist", i)
        persons = struct_members(image, "annorect")
        if len(persons) > PEOPLE_PER_IMAGE:
            fail(where, f"at most {PEOPLE_PER_IMAGE} people", Phrase(str(len(persons))))
        for j, person in enumerate(persons):
            row = read_person(person, (path, "annolist", i, "person", j))
            row["image"] = file_name(getattr(getattr(image, "image", None), "name", None), where)
            people.append(row | {"image_id": i, "person": i * PEOPLE_PER_IMAGE + j})
    return people_of_rows(people)


def read_person(person: Any, where: ErrorContext) -> dict[str, Any]:
    """Return keypoints, labelled, head_box, centre and scale of one `annorect`; NaN where it lacks one of the last three."""
    keypoints, labelled = np.zeros((len(MPII16), 2)), np.zeros(len(MPII16), bool)
    for points in struct_members(person, "annopoints"):
        for point in struct_members(points, "point"):
            k = scalar_field(point, "id", where)
            if k not in range(len(MPII16)):
                fail(where, f"point ids 0 to {len(MPII16) - 1}", k)
            xy = np.array([scalar_field(point, "x", where), scalar_field(point, "y", where)])
            if np.isnan(xy).any():
                fail(where, f"x and y of {MPII16.keypoints[int(k)]}", Phrase("none"))
            keypoints[int(k)], labelled[int(k)] = xy - FIRST_PIXEL, True
    centre = np.full(2, np.nan)
    for position in struct_members(person, "objpos"):
        centre = np.array([scalar_field(position, "x", where), scalar_field(position, "y", where)])
    return {
        "keypoints": keypoints,
        "labelled": labelled,
        "head_box": np.array([scalar_field(person, corner, where) for corner in CORNERS]) - FIRST_PIXEL,
        "centre": centre - FIRST_PIXEL,
        "scale": scalar_field(person, "scale", where),
    }


def people_of_rows(people: list[dict[str, Any]]) -> People:
    """Make the people of rows of `read_person`."""
    n, k = len(people), len(MPII16)

    def column(key: str, shape: tuple[int, ...], kind: type) -> np.ndarray:
        return np.array([person[key] for person in people], dtype=kind).reshape(n, *shape)

    scale, centre = column("scale", (), np.float64), column("centre", (2,), np.float64)
    labelled = column("labelled", (k,), np.bool_)
    head_box = column("head_box", (4,), np.float64)
    head_box[np.isnan(head_box).any(axis=1)] = np.nan
    placed = (scale > 0) & ~np.isnan(centre).any(axis=1)
    box = np.where(placed[:, None], person_region(centre, scale), 0.0)
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


def struct_members(struct: Any, name: str) -> list[Any]:
    """Return the structs in a field: SciPy gives one as itself, several as an array, none as an empty array or no field."""
    value = getattr(struct, name, None)
    values = list(value.ravel()) if isinstance(value, np.ndarray) and value.dtype == object else [value]
    return [member for member in values if hasattr(member, "_fieldnames")]


def scalar_field(struct: Any, name: str, where: ErrorContext) -> float:
    """Return the number in a field, which may be text; NaN if the field is absent or empty, UserError if it holds anything else."""
    value = getattr(struct, name, None)
    if value is None or (isinstance(value, np.ndarray) and value.size == 0):
        return float("nan")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            fail(where, f"`{name}` to be a number", value)
    if not is_finite(value) or abs(value) > LARGEST_COORDINATE:
        fail(where, f"`{name}` to be a finite number", value)
    return float(value)
