"""The gallery: the test people whom a student predicts best, typically and worst, with every model's pose, for page and sheet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.image_encoding import encode_image
from pipeline.drawing import FIGURE_QUALITY, contact_sheet, draw_pose, figure_crop
from pipeline.metrics.pck import relative_distances
from pipeline.people.images import read_image, safe_path
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.geometry import apply
from pipeline.pose.skeletons import Skeleton
from pipeline.report.figures import GalleryPerson, panel
from pipeline.report.page import jpeg_uri

GALLERY_SIZE = (240, 320)
"""Width and height in pixels of a person's crop."""
GALLERY_PADDING = 1.25
"""Side of the crop in sides of the person's box."""
MIN_COMPARED = 8
"""Least number of compared keypoints of a person who is shown, or the most that any person has: a single one is easily perfect."""


@dataclass(frozen=True)
class ShownPose:
    """A pose in the pixels of a person's crop."""

    title: str
    skeleton: Skeleton
    keypoints: np.ndarray
    """float (K, 2)."""
    known: np.ndarray
    """bool (K,): which keypoints are drawn."""
    confidence: np.ndarray | None
    """float (K,); None for the truth."""
    error: float
    """Mean distance from the labels in longer box sides; NaN for the truth."""


@dataclass(frozen=True)
class ShownPerson:
    """A test person with the crop of the image, and the poses of the truth and of every model."""

    kind: str
    """`best`, `typical` or `worst`."""
    label: str
    crop: np.ndarray
    """uint8 (h, w, 3) RGB."""
    poses: list[ShownPose]


def pick_by_error(error: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Return the positions of the `count` smallest, middle and largest errors (U,), without NaN.

    No position is returned twice: where there are fewer errors than 3 x count, there are fewer positions of each kind.
    """
    order = np.argsort(error, kind="stable")
    order = order[: int(np.isfinite(error).sum())]
    count_of_kind = min(count, len(order) // 3)
    if not count_of_kind:
        return {"typical": order[:count]}
    middle = (len(order) - count_of_kind) // 2
    return {
        "best": order[:count_of_kind],
        "typical": order[middle : middle + count_of_kind],
        "worst": order[::-1][:count_of_kind],
    }


def gallery_people(
    images: Path, truth: People, predicted: Mapping[str, Poses], ranked_by: str, count: int, confidence: float
) -> list[ShownPerson]:
    """Return `count` people of each kind, ranked by the error of the model `ranked_by`, with the poses of all models.

    Keypoints above `confidence` are drawn.
    """
    used = np.flatnonzero(truth.use)
    distances = {model: relative_distances(truth, poses)[0] for model, poses in predicted.items()}
    errors = {model: _mean(np.where(truth.labelled[used], distance, np.nan)) for model, distance in distances.items()}
    compared = (truth.labelled[used] & np.isfinite(distances[ranked_by])).sum(axis=1)
    enough = compared >= min(MIN_COMPARED, compared.max(initial=0))
    picked = pick_by_error(np.where(enough, errors[ranked_by], np.nan), count)
    return [
        _shown_person(
            kind,
            images,
            truth,
            int(used[position]),
            predicted,
            {model: error[position] for model, error in errors.items()},
            confidence,
        )
        for kind, positions in picked.items()
        for position in positions
    ]


def _shown_person(
    kind: str,
    images: Path,
    truth: People,
    row: int,
    predicted: Mapping[str, Poses],
    errors: Mapping[str, float],
    min_confidence: float,
) -> ShownPerson:
    image = read_image(safe_path(images, truth.image[row]), truth.image_wh[row])
    crop, crop_from_image = figure_crop(image, truth.box[row], GALLERY_SIZE, GALLERY_PADDING)
    points = apply(crop_from_image, truth.keypoints[row])
    shown = [ShownPose("truth", truth.skeleton, points, truth.labelled[row], None, float("nan"))]
    for model, poses in predicted.items():
        rows = np.flatnonzero(poses.person == truth.person[row])
        if len(rows):
            points, confidence = apply(crop_from_image, poses.keypoints[rows[0]]), poses.confidence[rows[0]]
            known, error = confidence > min_confidence, float(errors[model])
            shown.append(ShownPose(model, poses.skeleton, points, known, confidence, error))
    return ShownPerson(kind, f"{truth.image[row]}, person {truth.person[row]}", crop, shown)


def gallery_person(dataset: str, person: ShownPerson) -> GalleryPerson:
    """Return the person as the page shows it."""
    panels = [
        panel(pose.title, _percent(pose.error), pose.skeleton, pose.keypoints, pose.known, pose.confidence)
        for pose in person.poses
    ]
    caption = f"{dataset}, {person.kind}: {person.label}"
    return GalleryPerson(dataset, person.kind, caption, jpeg_uri(person.crop), GALLERY_SIZE, panels)


def write_sheet(path: Path, people: list[ShownPerson]) -> None:
    """Write the same people as one JPEG, a row each, to show beside a text; UserError where a JPEG cannot hold them."""
    rows = [
        [draw_pose(person.crop, pose.skeleton, np.nan_to_num(pose.keypoints), pose.known) for pose in person.poses]
        for person in people
    ]
    titles = [pose.title for pose in people[0].poses]
    sheet = contact_sheet(rows, titles, [f"{person.kind}: {person.label}" for person in people])
    try:
        write_atomically(path, encode_image(sheet, ".jpg", FIGURE_QUALITY))
    except UserError as error:
        raise UserError(f"{path}: {error}: ask for fewer people with report.people in params.yaml") from error


def _mean(distance: np.ndarray) -> np.ndarray:
    """Return the mean over the keypoints (U, K) that are finite, NaN where none is."""
    known = np.isfinite(distance)
    count = known.sum(axis=1)
    return np.where(count, np.where(known, distance, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _percent(error: float) -> str:
    return "" if np.isnan(error) else f"{100 * error:.1f} %"
