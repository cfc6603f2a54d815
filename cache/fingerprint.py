"""The sha256 of arrays: a store's fingerprint names the tables that it was made from by it."""

import hashlib

import numpy as np


def array_digest(*arrays: np.ndarray) -> str:
    """Return the sha256 over arrays of numbers or texts, including their shapes and kinds of numbers."""
    total = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array.astype(str) if array.dtype == object else array)
        total.update(f"{plain.dtype.kind}{plain.shape}".encode())
        total.update("\0".join(plain.tolist()).encode() if plain.dtype.kind == "U" else plain.tobytes())
    return total.hexdigest()
