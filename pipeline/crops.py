"""Crops of a picture under given affines. Not here: where the affines come from, or reading the picture."""

import cv2
import numpy as np


def crop(picture: np.ndarray, input_from_image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """uint8 (M, H, W, 3): M crops of `wh` pixels of an RGB picture (h, w, 3) under affines (M, 2, 3); black outside it."""
    crops = np.empty((len(input_from_image), wh[1], wh[0], 3), np.uint8)
    for n, affine in enumerate(input_from_image):
        cv2.warpAffine(picture, affine, wh, dst=crops[n], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return crops
