"""The targets of consecutive people, as teachers give them and stores keep them."""

from dataclasses import dataclass

import numpy as np

from pipeline.targets.quantise import dequantise, distribution


@dataclass(frozen=True)
class TargetBlock:
    """Quantised targets of P people in V views. They are zero for people that the teacher did not run on, such as crowds."""

    person: np.ndarray
    """Ids in the people table, int64 (P,)."""
    levels: dict[str, np.ndarray]
    """Levels uint8, see pipeline.targets.quantise: `heatmaps` (P, V, K, H, W), or bins `x` (P, V, K, Wx) and `y` (P, V, K, Hy)."""
    peak: np.ndarray
    """Largest value of the map, or of the product of the two distributions: float16 (P, V, K)."""
    score: np.ndarray
    """Confidence, 0 to 1: float16 (P, V, K)."""
    image_from_target: np.ndarray
    """Affines from target pixels, or bins, to image pixels: float64 (P, V, 2, 3)."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by their names in a store."""
        return {
            **self.levels,
            "peak": self.peak,
            "score": self.score,
            "image_from_target": self.image_from_target,
            "person": self.person,
        }

    def maps(self, people: int | slice | np.ndarray, views: int | slice) -> tuple[np.ndarray, ...]:
        """Return float32 maps (..., K, H, W), or the distributions over bins (..., K, Wx) and (..., K, Hy)."""
        if "heatmaps" in self.levels:
            return (dequantise(self.levels["heatmaps"][people, views], self.peak[people, views]),)
        return tuple(distribution(self.levels[axis][people, views]) for axis in ("x", "y"))
