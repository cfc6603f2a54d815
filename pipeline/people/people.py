"""People: the annotations of one split of a dataset, of any format, as arrays with one row per person."""

from dataclasses import dataclass, fields, replace

import numpy as np

from pipeline.pose.skeletons import NO_SKELETON, Skeleton


@dataclass(frozen=True)
class People:
    """N annotated people of one split. Pixel coordinates have the centre of the first pixel at (0, 0).

    Every annotation is kept, crowds included, because evaluation needs them; `use` marks those that are learned from and scored.
    """

    skeleton: Skeleton
    person: np.ndarray
    """int64 (N,): id, stable, non-negative, unique."""
    image: np.ndarray
    """str (N,): image file, relative to the image folder."""
    image_id: np.ndarray
    """int64 (N,): the image's id in the annotation file (its position if the format has no ids)."""
    image_wh: np.ndarray
    """int32 (N, 2): annotated width and height of the image in pixels; (0, 0) if the format has none."""
    box: np.ndarray
    """float64 (N, 4): x, y, width, height of the unpadded person region, in image pixels."""
    area: np.ndarray
    """float64 (N,): object area in square pixels, for OKS; the box's if the format has none."""
    crowd: np.ndarray
    """bool (N,): whether the box is a crowd's, not a person's."""
    use: np.ndarray
    """bool (N,): not a crowd, positive box, at least one labelled keypoint (boxes only: every positive box)."""
    keypoints: np.ndarray
    """float64 (N, K, 2): x, y in image pixels; 0 where not labelled."""
    labelled: np.ndarray
    """bool (N, K): whether the keypoint is annotated, occluded ones included."""
    head_box: np.ndarray
    """float64 (N, 4): x1, y1, x2, y2 of the head box in image pixels, NaN if the dataset has none."""

    def __len__(self) -> int:
        return len(self.person)

    def rows(self, which: np.ndarray) -> "People":
        """Return the people at positions `which`, or where a mask is true, in that order."""
        arrays = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "skeleton"}
        return replace(self, **arrays)


def without_labels(people: People) -> People:
    """Return the people as boxes alone, in NO_SKELETON. In use are all with a positive box that are no crowd, labelled or not."""
    n = len(people)
    return replace(
        people,
        skeleton=NO_SKELETON,
        use=~people.crowd & (people.box[:, 2:] > 0).all(axis=1),
        keypoints=np.zeros((n, 0, 2)),
        labelled=np.zeros((n, 0), bool),
        head_box=np.full((n, 4), np.nan),
    )


def head_size(head_box: np.ndarray) -> np.ndarray:
    """Return MPII's head size, float (N,) in pixels: 0.6 x the diagonal of the head box (N, 4); NaN where there is none."""
    return 0.6 * np.hypot(head_box[:, 2] - head_box[:, 0], head_box[:, 3] - head_box[:, 1])
