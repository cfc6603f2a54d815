"""Dividing a dataset's training part into training and validation, by picture. No reading, no writing."""

import hashlib

import numpy as np

from pipeline.errors import UserError
from pipeline.people.people import People


def split_by_picture(people: People, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N,), (N,): training and validation; about `fraction` (0 <= fraction < 1) of the pictures validate.

    A picture's side follows from its own name and the seed, so adding or reordering others moves none; only where one
    side would stay empty (fraction > 0, two pictures or more) does the picture next in line change sides.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"the fraction of pictures for validation: expected 0 <= fraction < 1, found {fraction}")
    pictures, of_row = np.unique(people.image, return_inverse=True)
    draw = np.array([uniform(seed, name) for name in pictures.tolist()])
    chosen = draw < fraction
    if fraction > 0 and len(pictures) >= 2:
        if not chosen.any():
            chosen[draw.argmin()] = True
        elif chosen.all():
            chosen[draw.argmax()] = False
    validation = chosen[of_row.ravel()] if len(pictures) else np.zeros(0, bool)
    return ~validation, validation


def uniform(seed: int, image: str) -> float:
    """A number in [0, 1) from the sha256 of `seed:image`."""
    digest = hashlib.sha256(f"{seed}:{image}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
