"""From a network's raw output to maps or distributions, confidences and keypoints, for teachers, students and stored targets alike."""

import numpy as np

from pipeline.pose.decode import decode_heatmaps, mass_at_peak
from pipeline.pose.geometry import apply
from pipeline.pose.spec import NetworkSpec

OutputArrays = tuple[np.ndarray, ...]
"""A network's output: maps (..., K, H, W) alone, or the bins (..., K, Wx) and (..., K, Hy)."""


def maps_and_scores(raw: OutputArrays, spec: NetworkSpec) -> tuple[OutputArrays, np.ndarray]:
    """Return non-negative float32 arrays shaped as `raw`, and confidences (..., K) in 0-1.

    `heatmap`: negatives are cut, the peak is the confidence. `heatmap_logits`: spatial softmax, and the confidence is the
    probability within two pixels of the peak. `simcc`: softmax(factor x score) over the bins of each axis, and the confidence
    is the smaller of the two largest raw scores, cut to 0-1 (MMPose's rule for RTMPose).
    """
    if spec.kind == "heatmap":
        maps = np.maximum(raw[0], 0).astype(np.float32)
        return (maps,), maps.max(axis=(-2, -1)).clip(0, 1)
    if spec.kind == "heatmap_logits":
        maps = _softmax(raw[0], (-2, -1))
        return (maps,), mass_at_peak(maps)
    x, y = raw
    score = np.minimum(x.max(axis=-1), y.max(axis=-1)).clip(0, 1)
    return tuple(_softmax(spec.factor * bins.astype(np.float32), (-1,)) for bins in raw), score


def decode_keypoints(maps: OutputArrays, image_from_target: np.ndarray, spec: NetworkSpec) -> np.ndarray:
    """Return the keypoints (..., K, 2), in image pixels, of maps or distributions under affines (..., 2, 3).

    Heatmaps of `classic` networks are decoded to quarter pixels as their makers do, unless their spec says `decode: dark`, of `udp`
    networks with DARK; softmax maps are narrow Gaussians and need no blur. SimCC is decoded to the bin. A target without a positive
    value gives NaN.
    """
    if spec.kind == "simcc":
        points = np.stack([bins.argmax(axis=-1) for bins in maps], axis=-1).astype(np.float64)
        peak = np.minimum(*(bins.max(axis=-1) for bins in maps))
    elif spec.kind == "heatmap" and spec.affine == "classic" and spec.decode == "standard":
        points, peak = decode_heatmaps(maps[0], "quarter")
    else:
        points, peak = decode_heatmaps(maps[0], "newton", spec.blur if spec.kind == "heatmap" else 0)
    return np.where(peak[..., None] > 0, apply(image_from_target, points), np.nan)


def output_wh(maps: OutputArrays) -> tuple[int, int]:
    """Return width and height of the output in its own pixels or bins."""
    return (maps[0].shape[-1], maps[0].shape[-2]) if len(maps) == 1 else (maps[0].shape[-1], maps[1].shape[-1])


def as_maps(maps: OutputArrays) -> np.ndarray:
    """Return maps (..., K, H, W) to draw: those given, or the product of the distributions over x and y."""
    if len(maps) == 1:
        return maps[0]
    x, y = maps
    return y[..., :, None] * x[..., None, :]


def _softmax(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    shifted = np.exp(values.astype(np.float32) - values.max(axis=axes, keepdims=True))
    return shifted / shifted.sum(axis=axes, keepdims=True)
