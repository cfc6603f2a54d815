"""Keypoints that networks found on another person, or on the person's other side. Not here: what is done about them."""

import numpy as np


def on_another(
    image_id: np.ndarray, points: np.ndarray, labels: np.ndarray, labelled: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Bool (N, K): does a person's point lie where the same keypoint of another person in the picture is labelled?

    Points and labels (N, K, 2) in image pixels; it does within half of `allowed` (N, K), theirs. In a crowd a network easily looks
    at the neighbour, and its other keypoints, or another network, confirm it.
    """
    result = np.zeros(labelled.shape, bool)
    order = np.argsort(image_id, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(image_id[order])) + 1):
        if len(rows) < 2:
            continue
        away = np.linalg.norm(points[rows][:, None] - labels[rows][None], axis=-1)
        near = (away <= allowed[rows] / 2) & labelled[rows]
        near[np.arange(len(rows)), np.arange(len(rows))] = False
        result[rows] = near.any(axis=1)
    return result


def on_other_side(
    points: np.ndarray, labels: np.ndarray, labelled: np.ndarray, mirror: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Bool (N, K): does a person's point lie within half a tolerance of the other side's label? `mirror` (K,): see Skeleton.

    A network that sees one leg often takes it for both.
    """
    away = np.linalg.norm(points - labels[:, mirror], axis=-1)
    return (away <= allowed / 2) & labelled[:, mirror] & (mirror != np.arange(len(mirror)))
