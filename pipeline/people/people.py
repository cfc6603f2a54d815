"""People: the annotations of one dataset part, whatever file they came from, as arrays with one row per person."""

from dataclasses import dataclass, fields, replace

import numpy as np

from pipeline.skeletons import Skeleton


@dataclass(frozen=True)
class People:
    """N annotated people of one dataset part. Pixel coordinates have the centre of the first pixel at (0, 0).

    Every annotation is kept, crowds included, because evaluation needs them; `use` says which ones teach and are scored.
    """

    skeleton: Skeleton
    person: np.ndarray
    """int64 (N,): stable, non-negative, unique."""
    image: np.ndarray
    """str (N,): picture file, relative to the picture folder."""
    image_id: np.ndarray
    """int64 (N,): the picture's id in the annotation file (its position where the format has none)."""
    image_wh: np.ndarray
    """int32 (N, 2): width and height the annotation states, in pixels; (0, 0) where the format states none."""
    box: np.ndarray
    """float64 (N, 4): x, y, width, height of the unpadded person region, in image pixels."""
    area: np.ndarray
    """float64 (N,): object area in square pixels as OKS wants it; the box's where the format has none."""
    crowd: np.ndarray
    """bool (N,)."""
    use: np.ndarray
    """bool (N,): not a crowd, positive box, at least one labelled keypoint (boxes only: every positive box)."""
    keypoints: np.ndarray
    """float64 (N, K, 2): x, y in image pixels; 0 where not labelled."""
    labelled: np.ndarray
    """bool (N, K): does the truth know this keypoint, occluded ones included."""
    head_box: np.ndarray
    """float64 (N, 4): x1, y1, x2, y2 of the head box in image pixels, NaN where the dataset has none."""

    def __len__(self) -> int:
        return len(self.person)

    def rows(self, which: np.ndarray) -> "People":
        """The people at those positions (or where that mask is true), in that order."""
        arrays = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "skeleton"}
        return replace(self, **arrays)


def head_size(head_box: np.ndarray) -> np.ndarray:
    """Float (N,): MPII's head size, 0.6 x the diagonal of the head box (N, 4), in pixels; NaN where there is none."""
    return 0.6 * np.hypot(head_box[:, 2] - head_box[:, 0], head_box[:, 3] - head_box[:, 1])
