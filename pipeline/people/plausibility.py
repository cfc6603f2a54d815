"""Whether people's geometry can be meant: findings from their numbers alone. Nothing is read or corrected."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.common.errors import UserError
from pipeline.people.people import People
from pipeline.pose.skeletons import MPII16

AREA_SHARE = 0.53
"""Share of a box taken as the person's area where none is stated that can be meant: that of CrowdPose's evaluation (crowdpose-api,
xtcocotools with `use_area` off), by which MMPose publishes AP of CrowdPose and of AI Challenger."""

LARGEST_AREA = 2.0
"""Largest area that can be meant, in box areas. An outline lies in its box; a whole box and a padded one are somebody's choice."""

PLACEHOLDER_BOX = 16.0
"""Square pixels of a box beside which an area of 1 or less is a converter's placeholder, not a measured one."""

FEWEST_EQUAL = 10
"""One area is a placeholder if more than half of the people have it, at least so many, beside boxes of as many sizes."""

IMAGE_SLACK, PIXEL_SLACK = 0.02, 2.0
"""A keypoint is outside its image by more than that share of the longer side, and more than so many pixels: annotators click on
the border, and guess points just beyond it."""

BOX_SLACK = 0.25
"""A keypoint is outside its box by more than that share of the longer side. COCO's keypoints leave their boxes by less, as those
are drawn around what is seen; a person counts if more than half of the labelled keypoints do."""

MENTIONED = 0.02
"""Share of people from which on a finding is mentioned: real datasets have a few such people each."""

SMALL_IMAGE = 4
"""Pixels of an image's longer side up to which coordinates of at most 1 may be pixels."""

HULL_KEYPOINTS = 5
"""Labelled keypoints whose extent says where a box should be."""

CLEARLY_BETTER, LEAST_OVERLAP = 2.0, 0.3
"""A box fits keypoints clearly better in another form if its IoU with their extent is that many times larger, and at least so large.
None of the 731 people of real COCO files that this was tried on does, nearly all do of those files in another form."""

FEWEST_VOTES = 3
"""Boxes without labels that have to leave their images before another form is considered."""


@dataclass(frozen=True)
class Finding:
    """What cannot be meant of some people."""

    text: str
    """One line: how many people, what, and the first of them."""
    of_most: bool
    """Whether most people are affected, so that the file must be read wrongly."""


def usable_areas(stated: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return a mask (N,) of the stated areas (N,), NaN where there is none, that can be meant beside the boxes (N, 4).

    0, 1, what is much larger than the box, and one number for most people are placeholders.
    """
    size = box[:, 2:].clip(0).prod(axis=1)
    usable = np.isfinite(stated) & (stated > 0)
    usable &= ~((stated <= 1) & (size >= PLACEHOLDER_BOX)) & ~((size > 0) & (stated > LARGEST_AREA * size))
    values, counts = np.unique(stated[usable], return_counts=True)
    if len(values) and counts.max() > len(stated) / 2:
        same = usable & (stated == values[counts.argmax()])
        if len(np.unique(size[same])) >= FEWEST_EQUAL:
            usable &= ~same
    return usable


def areas_used(people: People) -> str:
    """Return which areas the AP of these people uses, in words: those of their file, or shares of their boxes."""
    used = people.rows(people.use)
    share = used.area / used.box[:, 2:].clip(0).prod(axis=1)
    counts = {
        f"{AREA_SHARE} x box, as no usable area is annotated": int(np.isclose(share, AREA_SHARE, rtol=1e-9).sum()),
        "the whole box": int(np.isclose(share, 1.0, rtol=1e-3).sum()),
    }
    counts["the annotated area"] = len(used) - sum(counts.values())
    found = {words: count for words, count in counts.items() if count}
    if len(found) < 2:
        return next(iter(found), "none")
    return ", ".join(f"{words} of {count} people" for words, count in found.items())


def findings(people: People) -> list[Finding]:
    """Return what cannot be meant of the people in use, each with a count and the first person; [] for clean data."""
    used = people.rows(people.use)
    if not len(used):
        return []
    labelled, everybody = _any(used.labelled), np.ones(len(used), bool)
    tiny_box = ~_any(np.abs(used.box) > 1) & ~_in_small_image(used)
    beyond, at_origin = _outside_images(used, used.image_wh), _at_origin(used)
    off_box = _outside_boxes(used).sum(axis=1) > used.labelled.sum(axis=1) / 2
    found = [
        _finding(used, _any(beyond), labelled, "keypoints outside their image", _points(used, beyond)),
        _finding(used, off_box, labelled, "most keypoints outside their box", _boxes(used)),
        _finding(used, _any(at_origin), labelled, "labelled keypoints at (0, 0)", _points(used, at_origin), least=0),
        _finding(used, _in_unit_square(used), labelled, "all coordinates at most 1", _points(used, used.labelled)),
    ]
    if used.skeleton != MPII16:  # MPII's boxes are made of a centre and a scale
        found.append(_finding(used, tiny_box, everybody, "a box of numbers of at most 1", _boxes(used)))
        found += _other_form(used) if labelled.any() else _other_form_by_images(used)
    outside = _any(beyond)
    if found[0] and 2 * _any(_outside_images(used, used.image_wh[:, ::-1]))[outside].sum() < outside.sum():
        hint = (
            "; turned by 90 degrees the images hold them, as where labels are on the image as shown, its size as stored"
        )
        found[0] = replace(found[0], text=found[0].text + hint)
    return [finding for finding in found if finding]


def refuse_implausible(people: People, where: str, log: Callable[[str], None]) -> None:
    """Call `log` with what cannot be meant of some people in `where`; UserError where it is so of most of them."""
    found = findings(people)
    fatal = [finding.text for finding in found if finding.of_most]
    if fatal:
        raise UserError(
            f"{where}: expected boxes x, y, width, height and keypoints in pixels, found {'; '.join(fatal)}"
        )
    for finding in found:
        log(f"{where}: {finding.text}")


def _finding(
    people: People,
    affected: np.ndarray,
    judged: np.ndarray,
    what: str,
    value: Callable[[int], str],
    least: float = MENTIONED,
) -> Finding | None:
    """Return the finding that `affected` of the `judged` people (masks (N,)) have `what`, None if they are fewer than a share `least`."""
    count, total = int((affected & judged).sum()), int(judged.sum())
    if not count or count < least * total:
        return None
    row = int(np.flatnonzero(affected & judged)[0])
    first = f"first person {people.person[row]} in {people.image[row]}: {value(row)}"
    return Finding(f"{count} of {total} people have {what} ({first})", count > total / 2)


def _any(mask: np.ndarray) -> np.ndarray:
    """Return where any value of a mask's last axis is true."""
    return np.asarray(mask.any(axis=-1))


def _points(people: People, mask: np.ndarray) -> Callable[[int], str]:
    """Return what says of a row which keypoints the mask (N, K) marks there."""

    def words(row: int) -> str:
        marked = np.flatnonzero(mask[row])
        x, y = people.keypoints[row, marked[0]]
        width, height = people.image_wh[row]
        first = f"{people.skeleton.keypoints[marked[0]]} at ({x:g}, {y:g})"
        return f"{len(marked)} of {people.labelled[row].sum()}, {first}, image {width} x {height}"

    return words


def _boxes(people: People) -> Callable[[int], str]:
    """Return what says of a row which box is there."""

    def words(row: int) -> str:
        width, height = people.image_wh[row]
        numbers = ", ".join(f"{value:g}" for value in people.box[row])
        return f"box [{numbers}], image {width} x {height}"

    return words


def _outside_images(people: People, wh: np.ndarray) -> np.ndarray:
    """Return the labelled keypoints, bool (N, K), that are outside images of sizes (N, 2); none where a size is 0."""
    slack = np.maximum(PIXEL_SLACK, IMAGE_SLACK * wh.max(axis=1))[:, None, None]
    points = people.keypoints
    outside = _any((points < -slack) | (points > wh[:, None] - 1 + slack))
    return outside & people.labelled & ~_any(wh == 0)[:, None]


def _outside_boxes(people: People) -> np.ndarray:
    """Return the labelled keypoints, bool (N, K), that are outside their box by more than BOX_SLACK."""
    slack = BOX_SLACK * people.box[:, None, 2:].max(axis=2, keepdims=True)
    low = people.box[:, None, :2]
    high = low + people.box[:, None, 2:]
    outside = _any((people.keypoints < low - slack) | (people.keypoints > high + slack))
    return outside & people.labelled


def _at_origin(people: People) -> np.ndarray:
    """Return the labelled keypoints, bool (N, K), at (0, 0), or at MPII's (0, 0), which is (-1, -1) here."""
    x, y = people.keypoints[..., 0], people.keypoints[..., 1]
    return people.labelled & (x == y) & ((x == 0) | (x == -1))


def _in_unit_square(people: People) -> np.ndarray:
    """Return a mask (N,) of people all of whose labelled keypoints are in the unit square, in larger images, and not at (0, 0)."""
    size = np.where(people.labelled[..., None], np.abs(people.keypoints), 0.0).max(axis=(1, 2), initial=0.0)
    return (size > 0) & (size <= 1) & ~_at_origin(people).all(axis=1) & ~_in_small_image(people)


def _in_small_image(people: People) -> np.ndarray:
    """Return a mask (N,) of people in images of SMALL_IMAGE pixels or fewer; images of unknown size are larger."""
    longer = people.image_wh.max(axis=1)
    return (longer > 0) & (longer <= SMALL_IMAGE)


def _forms(box: np.ndarray) -> dict[str, np.ndarray]:
    """Return the boxes x, y, width, height (N, 4) that four numbers (N, 4) stand for in other forms, by the form's name."""
    a, b, c, d = box.T
    return {
        "corners (x1, y1, x2, y2)": np.column_stack([a, b, c - a, d - b]),
        "x1, x2, y1, y2": np.column_stack([a, c, b - a, d - c]),
        "centre and size": np.column_stack([a - c / 2, b - d / 2, c, d]),
    }


def _overlap(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU (N,) of boxes x, y, width, height (N, 4); 0 where a side is not positive."""
    low = np.maximum(box[:, :2], other[:, :2])
    high = np.minimum(box[:, :2] + box[:, 2:], other[:, :2] + other[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    positive = (box[:, 2:] > 0).all(axis=1) & (other[:, 2:] > 0).all(axis=1)
    union = box[:, 2:].prod(axis=1) + other[:, 2:].prod(axis=1) - shared
    return np.where(positive, shared / np.where(union > 0, union, 1.0), 0.0)


def _other_form(people: People) -> list[Finding | None]:
    """Return the finding that boxes fit the extent of their keypoints better in another form, at most one."""
    judged = people.labelled.sum(axis=1) >= HULL_KEYPOINTS
    if not judged.any():
        return []
    points, known = people.keypoints, people.labelled[..., None]
    low, high = np.where(known, points, np.inf).min(axis=1), np.where(known, points, -np.inf).max(axis=1)

    def clearly(overlap: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (overlap > CLEARLY_BETTER * other) & (overlap > LEAST_OVERLAP)

    extent = np.where(judged[:, None], np.concatenate([low, high - low], axis=1), 0.0)
    stated = _overlap(people.box, extent)
    fits = {form: _overlap(box, extent) for form, box in _forms(people.box).items()}
    form = max(fits, key=lambda name: float(clearly(fits[name], stated).sum()))
    better = clearly(fits[form], stated)
    worse = clearly(stated, fits[form])
    # Of boxes at the upper left of an image one cannot tell: those that can be told decide.
    return [_finding(people, better, better | worse, f"a box that fits their keypoints as {form}", _boxes(people))]


def _other_form_by_images(people: People) -> list[Finding | None]:
    """Return the finding that boxes without labels leave their images, which they would not in another form, at most one."""
    wh = people.image_wh

    def inside(box: np.ndarray) -> np.ndarray:
        slack = np.maximum(PIXEL_SLACK, IMAGE_SLACK * wh.max(axis=1))[:, None]
        fit = (box[:, :2] >= -slack) & (box[:, :2] + box[:, 2:] <= wh + slack) & (box[:, 2:] > 0)
        return fit.all(axis=1)

    stated = inside(people.box) | (wh == 0).any(axis=1)
    fits = {form: inside(box) for form, box in _forms(people.box).items()}
    form = max(fits, key=lambda name: int((fits[name] & ~stated).sum() - (stated & ~fits[name]).sum()))
    better, worse = fits[form] & ~stated, stated & ~fits[form]
    if better.sum() < FEWEST_VOTES:
        return []
    return [_finding(people, better, better | worse, f"a box that fits its image only as {form}", _boxes(people))]
