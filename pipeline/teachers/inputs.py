"""Network inputs directly from images: cropped and normalised one crop at a time, into arrays that are reused."""

import cv2
import numpy as np

from pipeline.pose.spec import NetworkSpec

CHANNELS = 3


def normalised_levels(spec: NetworkSpec, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Return the values that `spec.normalised` gives for the levels 0-255: (3, 256) of `dtype`, channels in the spec's order."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], CHANNELS, axis=3)
    return np.ascontiguousarray(spec.normalised(levels)[0, :, 0].astype(dtype))


def with_fourth_channel(image: np.ndarray) -> np.ndarray:
    """Return the RGB image (h, w, 3) with an unused fourth channel: OpenCV warps four bytes a third faster than three."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)


def write_inputs(
    inputs: np.ndarray, image: np.ndarray, input_from_image: np.ndarray, spec: NetworkSpec, levels: np.ndarray
) -> None:
    """Write crops of an RGB image (h, w, 3 or 4) under affines (M, 2, 3) into `inputs` (M, 3, H, W), of the type of `levels`.

    The result is bit for bit `spec.normalised` of `pipeline.pose.crops.crop`. Its values are looked up in `levels`, from
    `normalised_levels`, while a crop is still in the processor's cache.
    """
    hw = inputs.shape[2:]
    crop = np.empty((*hw, image.shape[2]), np.uint8)
    of_colour = [np.empty(hw, np.uint8) for _ in range(image.shape[2])]
    order = range(CHANNELS) if spec.color == "rgb" else range(CHANNELS)[::-1]
    # OpenCV has tables of integers and float32; float16 passes as 16-bit integers.
    bits = np.uint16 if levels.itemsize == 2 else levels.dtype
    tables, planes = levels.view(bits), inputs.view(bits)
    for affine, into in zip(input_from_image, planes, strict=True):
        cv2.warpAffine(image, affine, spec.input_wh, dst=crop, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        cv2.split(crop, of_colour)
        for table, plane, channel in zip(tables, into, order, strict=True):
            cv2.LUT(of_colour[channel], table, dst=plane)
