"""The targets of a run of people, as teachers give them and the store keeps them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TargetBlock:
    """Quantised maps of P people in V views. People whom no teacher looked at (crowds, say) are all zero."""

    person: np.ndarray
    """int64 (P,)."""
    levels: np.ndarray
    """uint8 (P, V, K, H, W): map over its own peak, see pipeline.targets.quantise."""
    peak: np.ndarray
    """float16 (P, V, K): what the levels are multiplied by."""
    score: np.ndarray
    """float16 (P, V, K): confidence, 0 to 1."""
    image_from_target: np.ndarray
    """float64 (P, V, 2, 3): target pixels to image pixels."""
