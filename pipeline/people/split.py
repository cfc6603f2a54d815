"""Splitting a dataset's training people into training and validation by image. No reading, no writing."""

import hashlib

import numpy as np

from pipeline.common.errors import UserError
from pipeline.people.people import People


def split_by_image(people: People, fraction: float, seed: int | str) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of training and of validation, bool (N,) each; about `fraction` (0 <= fraction < 1) of the images validate.

    The split of an image follows from its own name and the seed, a number or a word, so that adding or reordering others changes none. If
    one split would be empty (fraction > 0, two images or more), the image with the nearest draw is moved to it.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"the fraction of images for validation: expected 0 <= fraction < 1, found {fraction}")
    images, of_row = np.unique(people.image, return_inverse=True)
    draw = np.array([uniform_draw(seed, name) for name in images.tolist()])
    validates = draw < fraction
    if fraction > 0 and len(images) >= 2:
        if not validates.any():
            validates[draw.argmin()] = True
        elif validates.all():
            validates[draw.argmax()] = False
    validation = validates[of_row.ravel()] if len(images) else np.zeros(0, bool)
    return ~validation, validation


def uniform_draw(seed: int | str, image: str) -> float:
    """Return a number in [0, 1) from the SHA-256 of `seed:image`."""
    digest = hashlib.sha256(f"{seed}:{image}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
