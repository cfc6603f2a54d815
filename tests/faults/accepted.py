"""Unusual input that is read without an error: its description in docs/bad-input.md, and the command that reads it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from stages import prepare
from stages.project.project import load_project
from tests.faults.changes import boxes_of, copied, linked, pillow
from tests.faults.table import PREPARE, TEACH, Change, after, drop, put, recoded, remove, write


@dataclass(frozen=True)
class Accepted:
    """One unusual input, and its effect."""

    unusual: str
    change: Change
    command: str
    effect: str


def prepared(folder: Path) -> None:
    """Run `prepare` again: of images that have changed since, `teach` takes none."""
    with contextlib.chdir(folder):
        prepare.run(load_project(), "coco", log=lambda line: None)


TRAIN, IMAGE = "annotations/train.json", "pictures/00.jpg"
WITHOUT_STORES = remove("data/targets")

ACCEPTED = (
    Accepted("an annotation file in UTF-16", recoded(TRAIN, "utf-16"), PREPARE, "read with that encoding"),
    Accepted(
        "an annotation file that begins with UTF-8's mark",
        recoded(TRAIN, "utf-8-sig"),
        PREPARE,
        "read with that encoding",
    ),
    Accepted(
        "params.yaml that begins with UTF-8's mark",
        recoded("params.yaml", "utf-8-sig"),
        PREPARE,
        "read with that encoding",
    ),
    Accepted(
        "some boxes of zero or negative size",
        boxes_of([0, 0, 90, 70], [10, 10, -5, 20], [10, 10, 0, 20]),
        PREPARE,
        "these people stay in the table and are not learned from",
    ),
    Accepted("a box that leaves the image", boxes_of([-30, -30, 500, 500]), PREPARE, "what is outside is black"),
    Accepted(
        "an annotation without `area`",
        drop(TRAIN, "annotations", 0, "area"),
        PREPARE,
        "0.53 of its box counts as its area",
    ),
    Accepted(
        "an area of 0 or 1 beside a real box",
        put(TRAIN, "annotations", 0, "area", 1),
        PREPARE,
        "0.53 of its box counts; the number of such people is said",
    ),
    Accepted("an annotation without `iscrowd`", drop(TRAIN, "annotations", 0, "iscrowd"), PREPARE, "no crowd"),
    Accepted("a person without `keypoints`", drop(TRAIN, "annotations", 0, "keypoints"), PREPARE, "not in use"),
    Accepted("an id written 5.0", put(TRAIN, "annotations", 5, "id", 5.0), PREPARE, "5"),
    Accepted("a key that no format has", put(TRAIN, "annotations", 0, "mood", "fine"), PREPARE, "ignored"),
    Accepted(
        "a CMYK image", after(WITHOUT_STORES, write(IMAGE, pillow("JPEG", "CMYK")), prepared), TEACH, "converted to RGB"
    ),
    Accepted(
        "a grey image", after(WITHOUT_STORES, write(IMAGE, pillow("JPEG", "L")), prepared), TEACH, "converted to RGB"
    ),
    Accepted(
        "an image with alpha",
        after(WITHOUT_STORES, write(IMAGE, pillow("PNG", "RGBA")), prepared),
        TEACH,
        "alpha is ignored",
    ),
    Accepted(
        "an animated GIF",
        after(WITHOUT_STORES, write(IMAGE, pillow("GIF", "P", 3)), prepared),
        TEACH,
        "its first frame",
    ),
    Accepted(
        "an animated PNG",
        after(WITHOUT_STORES, write(IMAGE, pillow("PNG", "RGB", 3)), prepared),
        TEACH,
        "its first frame",
    ),
    Accepted(
        "an image that is a link out of its folder",
        after(copied(IMAGE, "elsewhere.jpg"), linked(IMAGE, "elsewhere.jpg")),
        PREPARE,
        "read; names with `..` or absolute ones stay refused",
    ),
    Accepted(
        "a PNG called .jpg",
        after(WITHOUT_STORES, write(IMAGE, pillow("PNG", "RGB")), prepared),
        TEACH,
        "its bytes decide",
    ),
)
