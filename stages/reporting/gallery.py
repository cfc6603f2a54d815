"""The gallery: which test people a student does best, typically and worst on, and every model's pose on them, for page and sheet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.crops import crop
from pipeline.drawing import draw_pose, sheet
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.frames import apply, input_from_image, regions_of_boxes
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.report.figures import Person, panel
from pipeline.report.page import jpeg_uri
from pipeline.scores.pck import relative_distances
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton

CROP_WH = (240, 320)
PADDING = 1.25
COMPARED = 8
"""So many keypoints must be compared on a person who is shown, or as many as there are on any: one alone is soon perfect."""


@dataclass(frozen=True)
class Drawable:
    """One pose in the pixels of a person's crop."""

    title: str
    skeleton: Skeleton
    keypoints: np.ndarray
    """float (K, 2)."""
    known: np.ndarray
    """bool (K,): drawn."""
    confidence: np.ndarray | None
    """float (K,); None of the truth."""
    error: float
    """Mean distance from the labels in longer box sides; NaN of the truth."""


@dataclass(frozen=True)
class Chosen:
    """A test person with the crop of the picture, and the truth's and every model's pose."""

    kind: str
    label: str
    crop: np.ndarray
    """uint8 (h, w, 3) RGB."""
    poses: list[Drawable]


def pick(error: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Positions of `count` each of the smallest, the middle and the largest errors (U,), NaN left out; nobody twice."""
    order = np.argsort(error, kind="stable")
    order = order[: int(np.isfinite(error).sum())]
    each = min(count, len(order) // 3)
    if not each:
        return {"typical": order[:count]}
    middle = (len(order) - each) // 2
    return {"best": order[:each], "typical": order[middle : middle + each], "worst": order[::-1][:each]}


def chosen_people(
    images: Path, truth: People, shown: Mapping[str, Poses], judge: str, count: int, confidence: float
) -> list[Chosen]:
    """`count` people of each kind by the error of the model `judge`; keypoints above `confidence` are drawn."""
    used = np.flatnonzero(truth.use)
    distances = {model: relative_distances(truth, poses)[0] for model, poses in shown.items()}
    errors = {model: _mean(np.where(truth.labelled[used], each, np.nan)) for model, each in distances.items()}
    compared = (truth.labelled[used] & np.isfinite(distances[judge])).sum(axis=1)
    enough = compared >= min(COMPARED, compared.max(initial=0))
    picked = pick(np.where(enough, errors[judge], np.nan), count)
    return [
        _chosen(
            kind, images, truth, int(used[at]), shown, {model: error[at] for model, error in errors.items()}, confidence
        )
        for kind, positions in picked.items()
        for at in positions
    ]


def _chosen(
    kind: str,
    images: Path,
    truth: People,
    row: int,
    shown: Mapping[str, Poses],
    errors: Mapping[str, float],
    confidence: float,
) -> Chosen:
    picture = read_picture(safe_path(images, truth.image[row]), truth.image_wh[row])
    affine = input_from_image(regions_of_boxes(truth.box[row : row + 1]), CROP_WH, PADDING, "classic")
    labelled = truth.labelled[row]
    poses = [
        Drawable("truth", truth.skeleton, apply(affine[0], truth.keypoints[row]), labelled, None, float("nan")),
    ]
    for model, each in shown.items():
        at = np.flatnonzero(each.person == truth.person[row])
        if len(at):
            points, sure = apply(affine[0], each.keypoints[at[0]]), each.confidence[at[0]]
            poses.append(Drawable(model, each.skeleton, points, sure > confidence, sure, float(errors[model])))
    label = f"{truth.image[row]}, person {truth.person[row]}"
    return Chosen(kind, label, crop(picture, affine, CROP_WH)[0], poses)


def as_person(dataset: str, chosen: Chosen) -> Person:
    """For the page."""
    panels = [
        panel(pose.title, _percent(pose.error), pose.skeleton, pose.keypoints, pose.known, pose.confidence)
        for pose in chosen.poses
    ]
    caption = f"{dataset}, {chosen.kind}: {chosen.label}"
    return Person(dataset, chosen.kind, caption, jpeg_uri(chosen.crop), CROP_WH, panels)


def write_sheet(place: Path, chosen: list[Chosen]) -> None:
    """The same people as one JPEG, a row each, to put beside a text."""
    rows = [
        [draw_pose(each.crop, pose.skeleton, np.nan_to_num(pose.keypoints), pose.known) for pose in each.poses]
        for each in chosen
    ]
    drawn = sheet(rows, [pose.title for pose in chosen[0].poses], [f"{each.kind}: {each.label}" for each in chosen])
    done, data = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise UserError(
            f"{place}: expected a sheet that a JPEG can hold, found {drawn.shape[1]} x {drawn.shape[0]} pixels"
        )
    write_atomically(place, data.tobytes())


def _mean(distance: np.ndarray) -> np.ndarray:
    """Mean over the keypoints (U, K) that are known, NaN without any."""
    known = np.isfinite(distance)
    count = known.sum(axis=1)
    return np.where(count, np.where(known, distance, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _percent(error: float) -> str:
    return "" if np.isnan(error) else f"{100 * error:.1f} %"
