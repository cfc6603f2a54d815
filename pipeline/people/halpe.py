"""Reader of Halpe-FullBody's JSON: COCO's format with 136 keypoints, of which the body's 26 are read."""

from pipeline.people.coco import Path, people_from_coco, person_categories
from pipeline.people.parse import read_json
from pipeline.people.people import People
from pipeline.skeletons import HALPE26

FULL_BODY = 136
"""Body 26, face 68, hands 42 (github.com/Fang-Haoshu/Halpe-FullBody, keypoint format); the body's come first."""


def read_halpe(path: Path) -> People:
    """Every person of a Halpe file in HALPE26, whether it lists 136 keypoints or 26; otherwise as `read_coco`."""
    document = read_json(path)
    # By position, not name: the categories of Halpe's files list no names.
    orders = {key: list(range(len(HALPE26))) for key in person_categories(document, path, None)}
    return people_from_coco(document, path, HALPE26, orders, allowed=(FULL_BODY, len(HALPE26)))
