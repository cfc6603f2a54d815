"""Flip averaging: a network's output on a crop and on its mirror image, averaged in the crop's frame."""

from collections.abc import Callable

import numpy as np

from pipeline.pose.outputs import OutputArrays, output_wh
from pipeline.pose.spec import NetworkSpec

Forward = Callable[[np.ndarray], OutputArrays]
"""A network from RGB crops uint8 (N, H, W, 3) to raw outputs float32: maps (N, K, h, w), or bins (N, K, Wx) and (N, K, Hy)."""


def with_flip_averaging(forward: Forward, spec: NetworkSpec) -> Forward:
    """Return `forward`, averaged with its output on the mirrored crops if the spec says `flip`."""
    if not spec.flip:
        return forward

    def both(crops: np.ndarray) -> OutputArrays:
        return flip_average(forward(crops), forward(np.ascontiguousarray(crops[:, :, ::-1])), spec)

    return both


def flip_average(raw: OutputArrays, of_mirrored: OutputArrays, spec: NetworkSpec) -> OutputArrays:
    """Return the means of raw outputs of crops and of the mirrored crops, in the frame of the crops."""
    return tuple(
        (straight + mirrored) / 2 for straight, mirrored in zip(raw, unmirrored(of_mirrored, spec), strict=True)
    )


def unmirrored(raw: OutputArrays, spec: NetworkSpec) -> OutputArrays:
    """Return raw outputs of mirrored crops in the frame of the crops: left and right swapped, columns mirrored in the spec's frame.

    Input column x is W - 1 - x of the mirror image, so output column x is s (W - 1) - x of its output, s output columns per
    input pixel: w - 1 - x under `udp`, w - s - x under `classic` (three quarters of a heatmap pixel off a plain reversal) and over
    bins (one bin off). Between two columns the value is linear, beyond the last one it is the last one's.
    """
    swapped = [array[:, spec.skeleton.mirror] for array in raw]
    width = swapped[0].shape[-1]
    scale = spec.target_from_input(output_wh(raw))[0, 0]
    columns = (scale * (spec.input_wh[0] - 1) - np.arange(width)).clip(0, width - 1)
    left = np.floor(columns).astype(int).clip(0, width - 2)
    share = (columns - left).astype(np.float32)
    swapped[0] = swapped[0][..., left] * (1 - share) + swapped[0][..., left + 1] * share
    return tuple(swapped)
