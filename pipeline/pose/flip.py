"""The rule by name for a flipped keypoint, which `Skeleton.flipped` takes where a skeleton has no partners of its own."""


def flipped_name(keypoint: str) -> str:
    """Return the name that a keypoint has in the mirror image: the other side's, or its own on the midline."""
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if keypoint.startswith(side):
            return other + keypoint.removeprefix(side)
    return keypoint
