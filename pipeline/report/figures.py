"""The content of the report as values for the template: tables, plots, people with their poses. Computes no scores."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.drawing import LEFT, RIGHT, side_color
from pipeline.pose.skeletons import Skeleton


@dataclass(frozen=True)
class Table:
    """Rows of texts under the heads of the columns. The first cell of a row is its name."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    strong: str = ""
    """Name of the row that is highlighted."""
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot as SVG. The template trusts it, so its texts must be escaped already."""

    caption: str
    name: str
    """Name of its files."""
    svg: str
    pdf: bytes


@dataclass(frozen=True)
class ReportImage:
    """An image as a data URI."""

    caption: str
    uri: str


@dataclass(frozen=True)
class Panel:
    """One pose over a person's crop: ends of limbs and keypoints in its pixels."""

    title: str
    note: str
    limbs: list[tuple[float, float, float, float, str]]
    """x1, y1, x2, y2 and side of each limb."""
    points: list[tuple[float, float, str, str]]
    """x, y, side and hover text of each keypoint."""


@dataclass(frozen=True)
class GalleryPerson:
    """A person of the gallery."""

    dataset: str
    kind: str
    """`best`, `typical` or `worst`."""
    caption: str
    uri: str
    wh: tuple[int, int]
    panels: list[Panel]


@dataclass(frozen=True)
class Page:
    """The whole report. A section without content shows its `missing` lines, or nothing."""

    title: str
    lead: str
    paper: Table
    """Numbers that others have published."""
    numbers: list[Table] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)
    training: list[Plot] = field(default_factory=list)
    curves: list[Plot] = field(default_factory=list)
    bars: list[Plot] = field(default_factory=list)
    gallery: list[GalleryPerson] = field(default_factory=list)
    ranked_by: str = ""
    """The model by whose error the gallery's people are chosen."""
    target_examples: list[ReportImage] = field(default_factory=list)
    inputs: list[Table] = field(default_factory=list)
    parameters: str = ""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Messages by section: what is missing, and the next command."""


def panel(
    title: str,
    note: str,
    skeleton: Skeleton,
    keypoints: np.ndarray,
    known: np.ndarray,
    confidence: np.ndarray | None = None,
) -> Panel:
    """Return the panel of a pose at keypoints (K, 2) in the crop's pixels, without those that are not `known` (K,) or not finite."""
    known = known & np.isfinite(keypoints).all(axis=1)
    at = [(round(float(x), 1), round(float(y), 1)) for x, y in np.where(known[:, None], keypoints, 0)]
    limbs = []
    for one, other in skeleton.limbs:
        a, b = skeleton.index(one), skeleton.index(other)
        if known[a] and known[b]:
            limbs.append((*at[a], *at[b], _side(one) if _side(one) != "middle" else _side(other)))
    points = []
    for k, name in enumerate(skeleton.keypoints):
        if known[k]:
            hover = name if confidence is None else f"{name}, confidence {confidence[k]:.2f}"
            points.append((*at[k], _side(name), hover))
    return Panel(title, note, limbs, points)


def _side(keypoint: str) -> str:
    return {LEFT: "left", RIGHT: "right"}.get(side_color(keypoint), "middle")
