"""Crops of an image under given affines, and the region of an image that several of them show. Not here: where affines come from."""

import math

import cv2
import numpy as np

from pipeline.common.image_encoding import encode_image
from pipeline.pose.geometry import apply, invert

DENSITY_STEP = 0.8
"""Factor by which the density of a region falls each time its JPEG has too many bytes."""


def crop(image: np.ndarray, input_from_image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """Return M crops, uint8 (M, H, W, 3), of `wh` pixels of an RGB image (h, w, 3) under affines (M, 2, 3); black outside it."""
    crops = np.empty((len(input_from_image), wh[1], wh[0], 3), np.uint8)
    for n, affine in enumerate(input_from_image):
        cv2.warpAffine(image, affine, wh, dst=crops[n], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return crops


def visible_box(input_from_image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """Return left, top, right and bottom, float (M, 4) in image pixels, of what crops of `wh` pixels under affines (M, 2, 3) show."""
    corners = np.array([[0, 0], [wh[0] - 1, 0], [0, wh[1] - 1], [wh[0] - 1, wh[1] - 1]], np.float64)
    points = apply(invert(input_from_image), corners)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def cut_region(image: np.ndarray, box: np.ndarray, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the region of an RGB image (h, w, 3) inside a box (4,) of `visible_box`, and the affine (2, 3) from image to region.

    The region has `density` pixels, at most 1, for each pixel of the image; below 1 they are means over areas. What lies
    outside the image is left out, as crops are black there anyway; a box without any of the image leaves one pixel.
    """
    height, width = image.shape[:2]
    scale = min(density, 1.0)
    # One more pixel of the region on each side: the last one within the box is interpolated with its neighbour.
    margin = math.ceil(1 / scale)
    left, top = (
        int(np.clip(math.floor(low) - margin, 0, most - 1)) for low, most in zip(box[:2], (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(math.ceil(high) + 1 + margin, low + 1, most))
        for high, low, most in zip(box[2:], (left, top), (width, height), strict=True)
    )
    region = image[top:bottom, left:right]
    wh = (max(1, math.ceil((right - left) * scale)), max(1, math.ceil((bottom - top) * scale)))
    if wh != (right - left, bottom - top):
        region = cv2.resize(region, wh, interpolation=cv2.INTER_AREA)
    x, y = wh[0] / (right - left), wh[1] / (bottom - top)
    region_from_image = np.array([[x, 0.0, (0.5 - left) * x - 0.5], [0.0, y, (0.5 - top) * y - 0.5]])
    return region, region_from_image


def region_jpeg(
    image: np.ndarray, box: np.ndarray, density: float, quality: int, most: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return `cut_region` as a JPEG, uint8 (at most `most`,), with its affine (2, 3) and its width and height in pixels.

    The density is lowered until the JPEG has at most `most` bytes. `quality` is OpenCV's, 0 to 100.
    """
    while True:
        region, region_from_image = cut_region(image, box, density)
        data = np.frombuffer(encode_image(region, ".jpg", quality), np.uint8)
        if len(data) <= most:
            return data, region_from_image, (region.shape[1], region.shape[0])
        density = min(density, 1.0) * DENSITY_STEP
