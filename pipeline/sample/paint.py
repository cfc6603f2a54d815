"""Paints with OpenCV: smooth hulls of circles, shaded from one side, and polygons. Knows shapes, not people."""

import cv2
import numpy as np

from pipeline.sample.look import Colour, scaled

SUBPIXEL_BITS = 4
ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)

LAYERS = ((1.0, 0.0, 0.66), (0.80, 0.16, 0.94), (0.42, 0.38, 1.14))
"""Layers of a round thing from rim to highlight: share of the radius, shift towards the light, brightness."""
LAYER_COLUMNS = np.array(LAYERS).T


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Return int32 pixels with SUBPIXEL_BITS fractional bits, as OpenCV's `shift` expects them."""
    return np.rint(np.asarray(points) * (1 << SUBPIXEL_BITS)).astype(np.int32)


def outlines(centres: np.ndarray, radii: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return int32 (3, M, 2): for each of LAYERS the convex hull of circles (N, 2), (N,), in fixed-point pixels.

    `light` is the direction (2,) towards the light, of unit length."""
    share, towards_light, _ = LAYER_COLUMNS
    middles = centres + towards_light[:, None, None] * radii[:, None] * light
    rings = middles[:, :, None] + (share[:, None] * radii)[:, :, None, None] * CIRCLE
    points = fixed_point(rings.reshape(len(LAYERS), -1, 2))
    # The layers are so alike that one hull's corners serve them all, and finding a hull is what takes long.
    corners = cv2.convexHull(points[0], returnPoints=False)[:, 0]
    return points.take(corners, axis=1)


def paint_polygon(image: np.ndarray, points: np.ndarray, paint: Colour) -> None:
    """Paint a filled polygon (N, 2), in pixels, into the image."""
    cv2.fillPoly(image, [fixed_point(points)], paint, cv2.LINE_AA, SUBPIXEL_BITS)


def cover_polygon(mask: np.ndarray, points: np.ndarray) -> None:
    """Write 1 into the pixels of a mask, uint8 (H, W), that a polygon (N, 2) covers."""
    cv2.fillPoly(mask, [fixed_point(points)], 1, cv2.LINE_8, SUBPIXEL_BITS)


def paint_line(image: np.ndarray, points: np.ndarray, paint: Colour, width: float) -> None:
    """Paint an open line through points (N, 2), in pixels, into the image."""
    cv2.polylines(image, [fixed_point(points)], False, paint, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)


def paint_dot(image: np.ndarray, centre: np.ndarray, radius: float, paint: Colour) -> None:
    """Paint a disc into the image."""
    x, y = fixed_point(centre)
    cv2.circle(
        image, (int(x), int(y)), max(1, int(radius * (1 << SUBPIXEL_BITS))), paint, -1, cv2.LINE_AA, SUBPIXEL_BITS
    )


def paint_hull(image: np.ndarray, points: np.ndarray, paint: Colour) -> None:
    """Paint the convex hull of points (N, 2), in pixels, into the image."""
    cv2.fillConvexPoly(image, cv2.convexHull(fixed_point(points)), paint, cv2.LINE_AA, SUBPIXEL_BITS)


def paint_round(image: np.ndarray, shapes: list[np.ndarray], paint: Colour) -> None:
    """Paint shapes of one colour, each the `outlines` of a round thing, into the image, from rims to highlights.

    The rims of all come first, so that shapes which touch look like one."""
    for layer, (_, _, gain) in enumerate(LAYERS):
        shade = scaled(paint, gain)
        for shape in shapes:
            cv2.fillConvexPoly(image, shape[layer], shade, cv2.LINE_AA, SUBPIXEL_BITS)


def label_round(labels: np.ndarray, shape: np.ndarray, label: int) -> None:
    """Write a label into the pixels that a round thing, given by its `outlines`, covers."""
    cv2.fillConvexPoly(labels, shape[0], label, cv2.LINE_8, SUBPIXEL_BITS)
