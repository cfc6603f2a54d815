"""Reader of Halpe-FullBody's JSON: COCO's format with 136 keypoints, of which the body's 26 are read."""

from pipeline.common.files import FilePath
from pipeline.datasets.coco import people_from_coco, person_categories
from pipeline.people.people import People
from pipeline.people.validation import read_json
from pipeline.pose.skeletons import HALPE26

FULL_BODY = 136
"""Keypoints of the full format: body 26, which come first, face 68, hands 42 (github.com/Fang-Haoshu/Halpe-FullBody, keypoint format)."""


def read_halpe(path: FilePath) -> People:
    """Read every person of a Halpe file in HALPE26, of 136 or of 26 keypoints; otherwise as `read_coco`."""
    document = read_json(path)
    # By position, not name: the categories of Halpe's files list no names.
    orders = {key: list(range(len(HALPE26))) for key in person_categories(document, path, None)}
    return people_from_coco(document, path, HALPE26, orders, allowed=(FULL_BODY, len(HALPE26)))
