"""What the report shows, as values the template lays out: tables, plots, people with their poses. Nothing here is measured."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.drawing import LEFT, RIGHT, side_color
from pipeline.skeletons import Skeleton


@dataclass(frozen=True)
class Table:
    """Rows of texts under as many heads; the first cell of a row is its name."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    strong: str = ""
    """The row of that name stands out."""
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG; trusted, so whoever makes it escapes the texts in it."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI."""

    caption: str
    uri: str


@dataclass(frozen=True)
class Panel:
    """One pose over a person's crop: ends of limbs and keypoints in its pixels."""

    title: str
    note: str
    limbs: list[tuple[float, float, float, float, str]]
    """x1, y1, x2, y2, side."""
    points: list[tuple[float, float, str, str]]
    """x, y, side, what is said on hover."""


@dataclass(frozen=True)
class Person:
    """One person of the gallery."""

    dataset: str
    kind: str
    """`best`, `typical` or `worst`."""
    caption: str
    uri: str
    wh: tuple[int, int]
    panels: list[Panel]


@dataclass(frozen=True)
class Page:
    """All of it. A part without content shows its `missing` lines, or nothing."""

    title: str
    lead: str
    paper: Table
    """Published numbers, which are not ours."""
    numbers: list[Table] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)
    training: list[Plot] = field(default_factory=list)
    curves: list[Plot] = field(default_factory=list)
    bars: list[Plot] = field(default_factory=list)
    gallery: list[Person] = field(default_factory=list)
    judge: str = ""
    """The model by whose error the gallery's people were chosen."""
    peeks: list[Picture] = field(default_factory=list)
    inputs: list[Table] = field(default_factory=list)
    parameters: str = ""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """By part: what is not there, and the next command."""


def panel(
    title: str,
    note: str,
    skeleton: Skeleton,
    keypoints: np.ndarray,
    known: np.ndarray,
    confidence: np.ndarray | None = None,
) -> Panel:
    """The pose of `skeleton` at keypoints (K, 2) in the crop's pixels, as far as they are `known` (K,) and finite."""
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
            said = name if confidence is None else f"{name}, confidence {confidence[k]:.2f}"
            points.append((*at[k], _side(name), said))
    return Panel(title, note, limbs, points)


def _side(keypoint: str) -> str:
    return {LEFT: "left", RIGHT: "right"}.get(side_color(keypoint), "middle")
