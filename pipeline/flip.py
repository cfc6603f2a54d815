"""Flip averaging: a network's output on a crop and on its mirror picture, averaged in the crop's frame."""

from collections.abc import Callable

import numpy as np

from pipeline.outputs import Arrays, target_wh
from pipeline.spec import NetworkSpec

Forward = Callable[[np.ndarray], Arrays]
"""RGB crops uint8 (N, H, W, 3) to raw outputs float32: maps (N, K, h, w), or bins (N, K, Wx) and (N, K, Hy)."""


def averaging(forward: Forward, spec: NetworkSpec) -> Forward:
    """The same, averaged with the mirrored crops' output where the spec says `flip`, unchanged where it doesn't."""
    if not spec.flip:
        return forward

    def both(crops: np.ndarray) -> Arrays:
        return averaged(forward(crops), forward(np.ascontiguousarray(crops[:, :, ::-1])), spec)

    return both


def averaged(raw: Arrays, of_mirrored: Arrays, spec: NetworkSpec) -> Arrays:
    """Raw outputs of crops, averaged with those of the mirrored crops."""
    return tuple((one + other) / 2 for one, other in zip(raw, unmirrored(of_mirrored, spec), strict=True))


def unmirrored(raw: Arrays, spec: NetworkSpec) -> Arrays:
    """Raw outputs of mirrored crops as if the crops were not: left and right swapped, columns mirrored in the spec's own frame.

    Input column x is W - 1 - x of the mirror picture, so output column x is s (W - 1) - x of its output, s output columns per
    input pixel: w - 1 - x under `udp`, w - s - x under `classic` (three quarters of a heatmap pixel off a plain reversal) and over
    bins (one bin off). Between two columns the value is linear, beyond the last one it is the last one's.
    """
    swapped = [array[:, spec.skeleton.mirror] for array in raw]
    width = swapped[0].shape[-1]
    scale = spec.target_from_input(target_wh(raw))[0, 0]
    at = (scale * (spec.input_wh[0] - 1) - np.arange(width)).clip(0, width - 1)
    left = np.floor(at).astype(int).clip(0, width - 2)
    share = (at - left).astype(np.float32)
    swapped[0] = swapped[0][..., left] * (1 - share) + swapped[0][..., left + 1] * share
    return tuple(swapped)
