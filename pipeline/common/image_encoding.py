"""Encodes images as JPEG, PNG and whatever else OpenCV writes. Decoding is in pipeline.people.images."""

import cv2
import numpy as np

from pipeline.common.errors import UserError


def encode_image(image: np.ndarray, suffix: str, quality: int | None = None) -> bytes:
    """Return the file content of an RGB image, uint8 (H, W, 3), in the format of a suffix like `.jpg`.

    `quality` is that of a JPEG, 0 to 100; without it OpenCV takes 95. UserError where OpenCV does not know the format, or where
    the format cannot hold an image of that size: a JPEG has at most 65,500 pixels a side.
    """
    parameters = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    try:
        encoded, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error:
        encoded = False
    if not encoded:
        raise UserError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as `{suffix}`")
    return bytes(data.tobytes())
