"""The targets of a run of people, as teachers give them and the store keeps them."""

from dataclasses import dataclass

import numpy as np

from pipeline.targets.quantise import dequantise, distribution


@dataclass(frozen=True)
class TargetBlock:
    """Quantised targets of P people in V views. People whom no teacher looked at (crowds, say) are all zero."""

    person: np.ndarray
    """int64 (P,)."""
    levels: dict[str, np.ndarray]
    """uint8, see pipeline.targets.quantise: `heatmaps` (P, V, K, H, W), or the bins `x` (P, V, K, Wx) and `y` (P, V, K, Hy)."""
    peak: np.ndarray
    """float16 (P, V, K): largest value of the map; of bins, of the product of the two distributions."""
    score: np.ndarray
    """float16 (P, V, K): confidence, 0 to 1."""
    image_from_target: np.ndarray
    """float64 (P, V, 2, 3): target pixels, or bins, to image pixels."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """By name, as a store has them."""
        return {
            **self.levels,
            "peak": self.peak,
            "score": self.score,
            "image_from_target": self.image_from_target,
            "person": self.person,
        }

    def maps(self, people: int | slice | np.ndarray, views: int | slice) -> tuple[np.ndarray, ...]:
        """float32 maps (..., K, H, W) alone, or the distributions over bins (..., K, Wx) and (..., K, Hy)."""
        if "heatmaps" in self.levels:
            return (dequantise(self.levels["heatmaps"][people, views], self.peak[people, views]),)
        return tuple(distribution(self.levels[axis][people, views]) for axis in ("x", "y"))
