"""Pictures for people to look at: poses on crops, heatmaps over crops, sheets of them. Nothing here is computed with."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.skeletons import Skeleton

LEFT, RIGHT, MIDDLE = (255, 140, 40), (60, 170, 255), (245, 235, 90)
"""RGB of limbs and keypoints by the person's own side."""

INK, PAPER = (40, 40, 40), (250, 250, 250)
MARGIN, HEADING = 6, 22
FINE = 16
"""Sub-pixel positions per pixel in OpenCV's drawing functions: 2 ** SHIFT."""
SHIFT = 4


def side_color(keypoint: str) -> tuple[int, int, int]:
    """Colour of a keypoint's side."""
    return LEFT if keypoint.startswith("left_") else RIGHT if keypoint.startswith("right_") else MIDDLE


def draw_pose(
    picture: np.ndarray, skeleton: Skeleton, keypoints: np.ndarray, known: np.ndarray, person: float = np.inf
) -> np.ndarray:
    """A copy of an RGB picture with limbs and keypoints (K, 2, in its pixels) drawn where both ends are `known` (K,).

    `person`: the longer side of the person in pixels; the smaller, the finer the lines, by default as suits one who fills the
    picture. In the finest a keypoint has no rim, which would hide little people.
    """
    drawn = np.ascontiguousarray(picture).copy()
    known = known & np.isfinite(keypoints).all(axis=1)
    at = np.where(known[:, None], keypoints, 0.0)
    fixed = np.rint(at * FINE).astype(int)
    thick = max(1, round(min(max(picture.shape[:2]) / 160, person / 60)))
    for one, other in skeleton.limbs:
        a, b = skeleton.index(one), skeleton.index(other)
        if known[a] and known[b]:
            color = side_color(one) if side_color(one) != MIDDLE else side_color(other)
            cv2.line(drawn, fixed[a].tolist(), fixed[b].tolist(), color, thick, cv2.LINE_AA, SHIFT)
    for k, keypoint in enumerate(skeleton.keypoints):
        if known[k]:
            if thick > 1:
                cv2.circle(drawn, fixed[k].tolist(), (thick + 1) * FINE, INK, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(drawn, fixed[k].tolist(), thick * FINE, side_color(keypoint), -1, cv2.LINE_AA, SHIFT)
    return drawn


def draw_maps(picture: np.ndarray, skeleton: Skeleton, maps: np.ndarray, picture_from_map: np.ndarray) -> np.ndarray:
    """A copy of an RGB picture under its maps (K, H, W), each over its own peak, tinted by side and warped by a (2, 3) affine."""
    size = (picture.shape[1], picture.shape[0])
    glow = np.zeros((*picture.shape[:2], 3), np.float32)
    for map_, keypoint in zip(maps, skeleton.keypoints, strict=True):
        if map_.max() > 0:
            warped = cv2.warpAffine(
                (map_ / map_.max()).astype(np.float32), picture_from_map, size, flags=cv2.INTER_LINEAR
            )
            glow = np.maximum(glow, warped[:, :, None] * np.array(side_color(keypoint), np.float32))
    return np.clip(0.45 * picture + 0.9 * glow, 0, 255).astype(np.uint8)


def sheet(rows: Sequence[Sequence[np.ndarray]], headings: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """RGB pictures of one size in rows and columns, a heading over each column and a label under each row."""
    height, width = rows[0][0].shape[:2]
    step_x, step_y = width + MARGIN, height + HEADING
    full = np.full((HEADING + step_y * len(rows), MARGIN + step_x * len(headings), 3), PAPER, np.uint8)
    for c, heading in enumerate(headings):
        _write(full, heading, (MARGIN + c * step_x, HEADING - 7), width)
    for r, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = HEADING + r * step_y
        for c, picture in enumerate(row):
            left = MARGIN + c * step_x
            full[top : top + height, left : left + width] = picture
        _write(full, label, (MARGIN, top + height + 14), step_x * len(headings))
    return full


def _write(picture: np.ndarray, text: str, at: tuple[int, int], width: int) -> None:
    scale = min(0.42, 0.42 * width / max(1, cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]))
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
