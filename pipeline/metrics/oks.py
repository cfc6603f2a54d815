"""COCO's object keypoint similarity, of all poses of an image at once, for pycocotools' evaluation. The matching is pycocotools'."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval


class FastCOCOeval(COCOeval):
    """pycocotools' evaluation of keypoints with the same numbers, bit for bit, without its loop over the poses of an image."""

    def computeOks(self, imgId: int, catId: int) -> np.ndarray | list[Any]:
        """Return the similarities, float64 (D, G), of the best-scored poses of an image to its people; an empty list without any."""
        people, poses = self._gts[imgId, catId], self._dts[imgId, catId]
        best = np.argsort([-pose["score"] for pose in poses], kind="mergesort")[: self.params.maxDets[-1]]
        if not len(people) or not len(best):
            return []
        found = np.array([poses[i]["keypoints"] for i in best], np.float64).reshape(len(best), -1, 3)[:, :, :2]
        variances = (self.params.kpt_oks_sigmas * 2) ** 2
        return np.stack([similarity(found, person, variances) for person in people], axis=1)


def similarity(found: np.ndarray, person: dict[str, Any], variances: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return float64 (D,): the similarity of poses (D, K, 2) to a person of a COCO document.

    Over its labelled keypoints; without any, over all, by how far each lies outside the person's box, doubled to all sides.
    """
    truth = np.array(person["keypoints"], np.float64).reshape(-1, 3)
    labelled = truth[:, 2] > 0
    distance = found - truth[:, :2]
    if not labelled.any():
        corner, size = np.array(person["bbox"][:2]), np.array(person["bbox"][2:])
        low, high = corner - size, corner + size * 2
        distance = np.maximum(0, low - found) + np.maximum(0, found - high)
        labelled = np.ones(len(truth), bool)
    squared = distance[:, :, 0] ** 2 + distance[:, :, 1] ** 2
    exponent = squared / variances / (person["area"] + np.spacing(1)) / 2
    return np.exp(-np.ascontiguousarray(exponent[:, labelled])).sum(axis=1) / labelled.sum()
