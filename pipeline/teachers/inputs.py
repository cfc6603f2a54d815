"""Network inputs straight from pictures: cropped and normalised one crop at a time, into arrays that are used again and again."""

import cv2
import numpy as np

from pipeline.spec import NetworkSpec

CHANNELS = 3


def normalised_levels(spec: NetworkSpec, number: type[np.floating] = np.float32) -> np.ndarray:
    """What `spec.normalised` makes of the levels 0-255: (3, 256) of that type, channels in the spec's order."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], CHANNELS, axis=3)
    return np.ascontiguousarray(spec.normalised(levels)[0, :, 0].astype(number))


def widened(picture: np.ndarray) -> np.ndarray:
    """The RGB picture (h, w, 3) with a fourth channel that nobody looks at: OpenCV warps four bytes a third faster than three."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)


def fill(
    inputs: np.ndarray, picture: np.ndarray, input_from_image: np.ndarray, spec: NetworkSpec, levels: np.ndarray
) -> None:
    """Write crops of an RGB picture (h, w, 3), or `widened`, under affines (M, 2, 3) into `inputs` (M, 3, H, W), of the type of `levels`.

    Bit for bit what `spec.normalised` makes of `pipeline.crops.crop`, looked up in `levels` (of `normalised_levels`) while a crop
    is still in the processor's cache.
    """
    hw = inputs.shape[2:]
    crop = np.empty((*hw, picture.shape[2]), np.uint8)
    of_colour = [np.empty(hw, np.uint8) for _ in range(picture.shape[2])]
    order = range(CHANNELS) if spec.color == "rgb" else range(CHANNELS)[::-1]
    # OpenCV looks up whole numbers and float32; float16 goes through as the 16 bits it is.
    bits = np.uint16 if levels.itemsize == 2 else levels.dtype
    tables, planes = levels.view(bits), inputs.view(bits)
    for affine, into in zip(input_from_image, planes, strict=True):
        cv2.warpAffine(picture, affine, spec.input_wh, dst=crop, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        cv2.split(crop, of_colour)
        for table, plane, channel in zip(tables, into, order, strict=True):
            cv2.LUT(of_colour[channel], table, dst=plane)
