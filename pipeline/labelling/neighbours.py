"""Finds keypoints that networks predict on another person, or on the person's other side. Decides nothing about them."""

import numpy as np


def at_another_persons_label(
    image_id: np.ndarray, points: np.ndarray, labels: np.ndarray, labelled: np.ndarray, tolerances: np.ndarray
) -> np.ndarray:
    """Return bool (N, K): whether a person's point lies at the label of the same keypoint of another person in the image.

    Takes points and labels (N, K, 2) in image pixels. A point lies at a label within half of the point's tolerance (N, K). In a
    crowd a network easily predicts the neighbour, and its other keypoints, or another network, agree with it.
    """
    result = np.zeros(labelled.shape, bool)
    order = np.argsort(image_id, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(image_id[order])) + 1):
        if len(rows) < 2:
            continue
        distance = np.linalg.norm(points[rows][:, None] - labels[rows][None], axis=-1)
        near = (distance <= tolerances[rows][:, None] / 2) & labelled[rows]
        near[np.arange(len(rows)), np.arange(len(rows))] = False
        result[rows] = near.any(axis=1)
    return result


def at_other_sides_label(
    points: np.ndarray, labels: np.ndarray, labelled: np.ndarray, mirror: np.ndarray, tolerances: np.ndarray
) -> np.ndarray:
    """Return bool (N, K): whether a person's point lies within half a tolerance of the label of the other side.

    `mirror` (K,) is that of the Skeleton. A network that sees one leg often predicts it as both.
    """
    distance = np.linalg.norm(points - labels[:, mirror], axis=-1)
    return (distance <= tolerances / 2) & labelled[:, mirror] & (mirror != np.arange(len(mirror)))
