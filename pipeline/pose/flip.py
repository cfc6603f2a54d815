"""The rule by name for a flipped keypoint, which `Skeleton.flipped` takes where a skeleton has no partners of its own."""

import re
from collections.abc import Iterator

OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
OTHER_SIDE |= {"l": "r", "r": "l", "L": "R", "R": "L"}

SIDE = re.compile(r"left|right|Left|Right|LEFT|RIGHT|^[lrLR]|(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z])[LR]$")
"""A side in the name of a keypoint: the word anywhere, the letter as a word, as the first letter, or as a capital at the end."""


def flipped_name(keypoint: str) -> str:
    """Return the name that a keypoint has in the mirror image: the other side's, or its own on the midline."""
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if keypoint.startswith(side):
            return other + keypoint.removeprefix(side)
    return keypoint


def names_like_the_other_side(keypoint: str) -> Iterator[str]:
    """Yield the names that a keypoint's other side may have in spellings that `flipped_name` does not know: `wrist_l`, `hip.R`."""
    for found in SIDE.finditer(keypoint):
        yield keypoint[: found.start()] + OTHER_SIDE[found[0]] + keypoint[found.end() :]
