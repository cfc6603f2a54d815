"""Suspicious labels as rows of a table and as a contact sheet for people. Finds none, writes no files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.image_encoding import encode_image
from pipeline.drawing import FIGURE_PADDING, FIGURE_QUALITY, contact_sheet, figure_crop
from pipeline.labelling.consensus import Predictions
from pipeline.labelling.fill import labels_as
from pipeline.labelling.marks import draw_suspicions
from pipeline.labelling.suspicion import Suspicion
from pipeline.people.images import read_image, safe_path
from pipeline.people.people import People
from pipeline.pose.geometry import apply
from pipeline.pose.skeletons import Skeleton

SUSPICION_COLUMNS = (
    *("rank", "image", "person", "keypoint", "suspicion", "tolerances", "of_box"),
    *("label_x", "label_y", "seen_x", "seen_y", "confidence"),
)
"""Keys of a row. `seen` is the consensus of the networks."""

CROP_SIZE = (216, 288)
"""Width and height in pixels of a person in the contact sheet."""
LABEL_COLUMN = "label"


def suspicion_rows(people: People, suspicions: list[list[Suspicion]]) -> list[dict[str, Any]]:
    """Return a row for every suspicion, with SUSPICION_COLUMNS as keys; `rank` counts the suspicious people from 1."""
    return [_row(people, suspicion, rank) for rank, person in enumerate(suspicions, start=1) for suspicion in person]


def suspicion_sheet(
    people: People,
    skeleton: Skeleton,
    images: Path,
    predictions: Predictions,
    confidence: float,
    suspicions: list[list[Suspicion]],
    advance: Callable[[int], object],
) -> bytes:
    """Return a JPEG with a row for every suspicious person: the label and each network in columns.

    `images` is the folder of the images. Keypoints of networks are drawn above `confidence`. `advance` is called with the number
    of people drawn. UserError where there are too many people for a JPEG.
    """
    labels, labelled = labels_as(people, skeleton)
    rows, texts = [], []
    for person in suspicions:
        row = person[0].row
        image = read_image(safe_path(images, str(people.image[row])), people.image_wh[row])
        crop, crop_from_image = figure_crop(image, people.box[row], CROP_SIZE, FIGURE_PADDING)
        columns = [(LABEL_COLUMN, labels[row], labelled[row])]
        columns += [
            (name, predictions.keypoints[s, row], predictions.confidence[s, row] > confidence)
            for s, name in enumerate(predictions.names)
        ]
        marks = [tuple(apply(crop_from_image, np.array([s.label, s.predicted]))) for s in person]
        rows.append(
            [
                draw_suspicions(
                    crop,
                    skeleton,
                    apply(crop_from_image, np.nan_to_num(points)),
                    known,
                    marks,
                    ring_consensus=name != LABEL_COLUMN,
                )
                for name, points, known in columns
            ]
        )
        texts.append(f"{people.image[row]}, person {people.person[row]}: {_described(person)}")
        advance(1)
    try:
        return encode_image(contact_sheet(rows, [LABEL_COLUMN, *predictions.names], texts), ".jpg", FIGURE_QUALITY)
    except UserError as error:
        raise UserError(f"{len(rows)} people are too many for one JPEG: ask for fewer with `--worst`") from error


def _row(people: People, suspicion: Suspicion, rank: int) -> dict[str, Any]:
    (label_x, label_y), (seen_x, seen_y) = suspicion.label, suspicion.predicted
    return {
        "rank": rank,
        "image": str(people.image[suspicion.row]),
        "person": int(people.person[suspicion.row]),
        "keypoint": suspicion.keypoint,
        "suspicion": suspicion.kind,
        "tolerances": round(suspicion.tolerances, 2),
        "of_box": round(suspicion.of_box, 4),
        "label_x": label_x,
        "label_y": label_y,
        "seen_x": round(seen_x, 2),
        "seen_y": round(seen_y, 2),
        "confidence": round(suspicion.confidence, 4),
    }


def _described(person: list[Suspicion]) -> str:
    """Return a text like `left and right exchanged: left_hip 1.3, right_hip 1.2; misplaced: left_knee 4.1 (tolerances)`."""
    kinds = dict.fromkeys(suspicion.kind for suspicion in person)
    texts = (
        f"{kind}: " + ", ".join(f"{s.keypoint} {s.tolerances:.1f}" for s in person if s.kind == kind) for kind in kinds
    )
    return "; ".join(texts) + " (tolerances)"
