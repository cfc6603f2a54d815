"""Input that looks wrong and is read all the same: what is said of it in docs/bad-input.md, and the command that reads it."""

from dataclasses import dataclass

from tests.faults.changes import boxes_of, pillow
from tests.faults.table import PREPARE, TEACH, Change, after, drop, put, recoded, remove, write


@dataclass(frozen=True)
class Accepted:
    """One odd input, and what becomes of it."""

    odd: str
    change: Change
    command: str
    taken: str


TRAIN, PICTURE = "annotations/train.json", "pictures/00.jpg"
UNTAUGHT = remove("data/targets")

ACCEPTED = (
    Accepted("an annotation file in UTF-16", recoded(TRAIN, "utf-16"), PREPARE, "read as such"),
    Accepted("an annotation file that begins with UTF-8's mark", recoded(TRAIN, "utf-8-sig"), PREPARE, "read as such"),
    Accepted("params.yaml that begins with UTF-8's mark", recoded("params.yaml", "utf-8-sig"), PREPARE, "read as such"),
    Accepted(
        "some boxes of zero or negative size",
        boxes_of([10, 10, 30, 30], [10, 10, -5, 20], [10, 10, 0, 20]),
        PREPARE,
        "these people stay in the table and nobody learns from them",
    ),
    Accepted("a box that leaves the picture", boxes_of([-30, -30, 500, 500]), PREPARE, "what is outside is grey"),
    Accepted("an annotation without `area`", drop(TRAIN, "annotations", 0, "area"), PREPARE, "its box's area counts"),
    Accepted("an annotation without `iscrowd`", drop(TRAIN, "annotations", 0, "iscrowd"), PREPARE, "no crowd"),
    Accepted("a person without `keypoints`", drop(TRAIN, "annotations", 0, "keypoints"), PREPARE, "not in use"),
    Accepted("an id written 5.0", put(TRAIN, "annotations", 5, "id", 5.0), PREPARE, "5"),
    Accepted("a key that no format has", put(TRAIN, "annotations", 0, "mood", "fine"), PREPARE, "passed over"),
    Accepted("a CMYK picture", after(UNTAUGHT, write(PICTURE, pillow("JPEG", "CMYK"))), TEACH, "turned to RGB"),
    Accepted("a grey picture", after(UNTAUGHT, write(PICTURE, pillow("JPEG", "L"))), TEACH, "turned to RGB"),
    Accepted("a picture with alpha", after(UNTAUGHT, write(PICTURE, pillow("PNG", "RGBA"))), TEACH, "alpha left out"),
    Accepted("an animated GIF", after(UNTAUGHT, write(PICTURE, pillow("GIF", "P", 3))), TEACH, "its first frame"),
    Accepted("an animated PNG", after(UNTAUGHT, write(PICTURE, pillow("PNG", "RGB", 3))), TEACH, "its first frame"),
    Accepted("a PNG called .jpg", after(UNTAUGHT, write(PICTURE, pillow("PNG", "RGB"))), TEACH, "its bytes decide"),
)
