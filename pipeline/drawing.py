"""Draws images for people: poses on crops, heatmaps over crops, contact sheets. Nothing is computed from what is drawn."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.pose.crops import crop
from pipeline.pose.geometry import input_from_image, regions_of_boxes
from pipeline.pose.skeletons import Skeleton

LEFT, RIGHT, MIDDLE = (255, 140, 40), (60, 170, 255), (245, 235, 90)
"""RGB colours of limbs and keypoints, by the person's own side."""

INK, PAPER = (40, 40, 40), (250, 250, 250)
MARGIN, HEADING = 6, 22
"""Pixels between the columns of a contact sheet, and height of its lines of text."""
FIGURE_QUALITY = 90
"""JPEG quality, 0 to 100, of what is drawn for people."""
FIGURE_PADDING = 1.4
"""Side of the region that is drawn of a person, in sides of the person's box."""
SUBPIXEL_SHIFT = 4
"""Fractional bits of a position in OpenCV's drawing functions."""
SUBPIXELS = 2**SUBPIXEL_SHIFT


def side_color(keypoint: str) -> tuple[int, int, int]:
    """Return the colour of a keypoint's side."""
    return LEFT if keypoint.startswith("left_") else RIGHT if keypoint.startswith("right_") else MIDDLE


def draw_pose(
    image: np.ndarray, skeleton: Skeleton, keypoints: np.ndarray, known: np.ndarray, person: float = np.inf
) -> np.ndarray:
    """Return a copy of an RGB image with the limbs and keypoints (K, 2, in its pixels) that are `known` (K,) and finite.

    `person` is the longer side of the person in pixels: the smaller it is, the finer the lines. By default the person fills the
    image. The finest keypoints have no rim, which would hide small people.
    """
    drawn = np.ascontiguousarray(image).copy()
    known = known & np.isfinite(keypoints).all(axis=1)
    fixed = np.rint(np.where(known[:, None], keypoints, 0.0) * SUBPIXELS).astype(int)
    thickness = max(1, round(min(max(image.shape[:2]) / 160, person / 60)))
    for one, other in skeleton.limbs:
        a, b = skeleton.index(one), skeleton.index(other)
        if known[a] and known[b]:
            color = side_color(one) if side_color(one) != MIDDLE else side_color(other)
            cv2.line(drawn, fixed[a].tolist(), fixed[b].tolist(), color, thickness, cv2.LINE_AA, SUBPIXEL_SHIFT)
    for k, keypoint in enumerate(skeleton.keypoints):
        if known[k]:
            center, radius = fixed[k].tolist(), thickness * SUBPIXELS
            if thickness > 1:
                cv2.circle(drawn, center, radius + SUBPIXELS, INK, -1, cv2.LINE_AA, SUBPIXEL_SHIFT)
            cv2.circle(drawn, center, radius, side_color(keypoint), -1, cv2.LINE_AA, SUBPIXEL_SHIFT)
    return drawn


def draw_maps(image: np.ndarray, skeleton: Skeleton, maps: np.ndarray, image_from_map: np.ndarray) -> np.ndarray:
    """Return a copy of an RGB image overlaid with its heatmaps (K, H, W), each divided by its own peak and tinted by side.

    `image_from_map` (2, 3) is the affine from map pixels to image pixels.
    """
    size = (image.shape[1], image.shape[0])
    glow = np.zeros((*image.shape[:2], 3), np.float32)
    for map_, keypoint in zip(maps, skeleton.keypoints, strict=True):
        if map_.max() > 0:
            warped = cv2.warpAffine(
                (map_ / map_.max()).astype(np.float32), image_from_map, size, flags=cv2.INTER_LINEAR
            )
            glow = np.maximum(glow, warped[:, :, None] * np.array(side_color(keypoint), np.float32))
    return np.clip(0.45 * image + 0.9 * glow, 0, 255).astype(np.uint8)


def figure_crop(
    image: np.ndarray, box: np.ndarray, wh: tuple[int, int], padding: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a person's crop of `wh` pixels, uint8 (h, w, 3), and its affine (2, 3) from the pixels of the RGB image.

    `box` (4,) is x, y, width and height in image pixels. `padding` is the crop's side in sides of the box.
    """
    crop_from_image = input_from_image(regions_of_boxes(box[None]), wh, padding, "classic")
    return crop(image, crop_from_image, wh)[0], crop_from_image[0]


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], headings: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return RGB images of one size in rows and columns, with a heading over each column and a label under each row."""
    height, width = rows[0][0].shape[:2]
    step_x, step_y = width + MARGIN, height + HEADING
    full = np.full((HEADING + step_y * len(rows), MARGIN + step_x * len(headings), 3), PAPER, np.uint8)
    for c, heading in enumerate(headings):
        _write(full, heading, (MARGIN + c * step_x, HEADING - 7), width)
    for r, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = HEADING + r * step_y
        for c, image in enumerate(row):
            left = MARGIN + c * step_x
            full[top : top + height, left : left + width] = image
        _write(full, label, (MARGIN, top + height + 14), step_x * len(headings))
    return full


def _write(image: np.ndarray, text: str, at: tuple[int, int], width: int) -> None:
    scale = min(0.42, 0.42 * width / max(1, cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
