"""Reader of Halpe-FullBody's JSON: COCO's format with 136 keypoints, of which the body's 26 are read."""

from typing import Any

from pipeline.common.files import FilePath
from pipeline.datasets.coco import Warn, keypoint_order, people_from_coco, person_categories
from pipeline.people.people import People
from pipeline.people.validation import entries, read_json
from pipeline.pose.skeletons import HALPE26

FULL_BODY = 136
"""Keypoints of the full format: body 26, which come first, face 68, hands 42 (github.com/Fang-Haoshu/Halpe-FullBody, keypoint format)."""


def read_halpe(path: FilePath, warn: Warn = lambda line: None) -> People:
    """Read every person of a Halpe file in HALPE26, of 136 or of 26 keypoints; otherwise as `read_coco`.

    Halpe's own files list no names: then the body's keypoints are the first 26, in its order. Where a category lists names, they
    decide, so the body may stand anywhere.
    """
    document = read_json(path)
    orders = halpe_orders(document, path)
    return people_from_coco(document, path, HALPE26, orders, allowed=(FULL_BODY, len(HALPE26)), warn=warn)


def halpe_orders(document: Any, path: FilePath) -> dict[int, list[int]]:
    """Return, for each person category of a parsed Halpe file, the position in the file of each keypoint of HALPE26."""
    orders = {}
    persons = person_categories(document, path, None)
    for row, category in enumerate(entries(document, "categories", str(path))):
        if category["id"] not in persons:
            continue
        names = category.get("keypoints")
        order = keypoint_order(names, (path, "categories", row), HALPE26, (FULL_BODY, len(HALPE26)))
        orders[int(category["id"])] = order
    return orders
