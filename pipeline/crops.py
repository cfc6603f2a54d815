"""Crops of a picture under given affines, and the part of a picture that several of them show. Not here: where affines come from."""

import math

import cv2
import numpy as np

from pipeline.frames import apply, invert

LESS_DENSE = 0.8


def crop(picture: np.ndarray, input_from_image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """uint8 (M, H, W, 3): M crops of `wh` pixels of an RGB picture (h, w, 3) under affines (M, 2, 3); black outside it."""
    crops = np.empty((len(input_from_image), wh[1], wh[0], 3), np.uint8)
    for n, affine in enumerate(input_from_image):
        cv2.warpAffine(picture, affine, wh, dst=crops[n], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return crops


def seen(input_from_image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """Float (M, 4): left, top, right and bottom, in image pixels, of what crops of `wh` pixels under affines (M, 2, 3) show."""
    corners = np.array([[0, 0], [wh[0] - 1, 0], [0, wh[1] - 1], [wh[0] - 1, wh[1] - 1]], np.float64)
    points = apply(invert(input_from_image), corners)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def part(picture: np.ndarray, box: np.ndarray, density: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of an RGB picture (h, w, 3) inside a box (4,) as `seen` gives it, and the affine (2, 3) of it from the picture.

    It has `density` pixels for each of the picture's, at most 1; smaller ones are means over areas. What lies outside the
    picture is left out, as crops are black there anyway; of a box without any of the picture one pixel is left.
    """
    height, width = picture.shape[:2]
    scale = min(density, 1.0)
    # A pixel of the part more on each side: the last one within the box is interpolated with its neighbour.
    margin = math.ceil(1 / scale)
    left, top = (
        int(np.clip(math.floor(low) - margin, 0, most - 1)) for low, most in zip(box[:2], (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(math.ceil(high) + 1 + margin, low + 1, most))
        for high, low, most in zip(box[2:], (left, top), (width, height), strict=True)
    )
    inside = picture[top:bottom, left:right]
    wh = (max(1, math.ceil((right - left) * scale)), max(1, math.ceil((bottom - top) * scale)))
    if wh != (right - left, bottom - top):
        inside = cv2.resize(inside, wh, interpolation=cv2.INTER_AREA)
    x, y = wh[0] / (right - left), wh[1] / (bottom - top)
    part_from_image = np.array([[x, 0.0, (0.5 - left) * x - 0.5], [0.0, y, (0.5 - top) * y - 0.5]])
    return inside, part_from_image


def compressed(
    picture: np.ndarray, box: np.ndarray, density: float, quality: int, most: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """`part` as the bytes of a JPEG, uint8 (at most `most`,), its affine, its width and height; less dense where it needs more bytes."""
    while True:
        pixels, part_from_image = part(picture, box, density)
        _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if data.size <= most:
            return data.reshape(-1), part_from_image, (pixels.shape[1], pixels.shape[0])
        density = min(density, 1.0) * LESS_DENSE
