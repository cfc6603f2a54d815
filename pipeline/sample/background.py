"""Paints what is behind and in front of people: rooms and streets for everyday scenes, fields and courts for sport. Paints no people."""

import cv2
import numpy as np

from pipeline.sample.look import Colour, colour, scaled
from pipeline.sample.paint import paint_dot, paint_line, paint_polygon
from pipeline.sample.pose import Style


def muted(rng: np.random.Generator) -> Colour:
    """Return a random colour of walls, furniture and pavement: plaster, wood, brick, now and then green or blue."""
    hue = rng.choice((0.03, 0.08, 0.11, 0.15, 0.3, 0.57, 0.62)) + rng.uniform(-0.03, 0.03)
    return colour(hue, rng.uniform(0.03, 0.38), rng.uniform(0.35, 0.95))


def vivid(rng: np.random.Generator) -> Colour:
    """Return a random colour of courts, banners and crowds."""
    return colour(rng.random(), rng.uniform(0.65, 1.0), rng.uniform(0.5, 1.0))


def rectangle(image: np.ndarray, left: float, top: float, right: float, bottom: float, paint: Colour) -> None:
    """Paint an upright rectangle given in pixels."""
    cv2.rectangle(image, (round(left), round(top)), (round(right), round(bottom)), paint, -1)


def fade(image: np.ndarray, top: int, bottom: int, upper: Colour, lower: Colour) -> None:
    """Fill the rows from `top` up to `bottom` with a gradient."""
    top, bottom = max(top, 0), min(bottom, len(image))
    if bottom > top:
        share = np.linspace(0, 1, bottom - top)[:, None]
        rows = (1 - share) * np.array(upper) + share * np.array(lower)
        column = np.clip(rows, 0, 255).astype(np.uint8)[:, None]
        image[top:bottom] = cv2.resize(column, (image.shape[1], bottom - top), interpolation=cv2.INTER_NEAREST)


def textured(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image with noise at three scales added, up to about `strength` grey levels."""
    side = len(image)
    texture = np.zeros((side, side), dtype=np.float32)
    for cells in (7, 29, 97):
        noise = rng.standard_normal((cells, cells), dtype=np.float32)
        texture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_LINEAR)
    return cv2.add(image, cv2.merge([strength * texture] * 3), dtype=cv2.CV_8U)


def paint_room(image: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Paint a wall with windows, doors and frames, a floor with boards or tiles, and furniture along the wall."""
    side = len(image)
    floor_line = round(horizon + side * rng.uniform(0.12, 0.22))
    wall = muted(rng)
    fade(image, 0, floor_line, scaled(wall, 1.1), scaled(wall, 0.85))
    floor = muted(rng)
    fade(image, floor_line, side, scaled(floor, 0.75), scaled(floor, 1.1))
    if rng.random() < 0.35:
        for x in np.arange(0, side, side * rng.uniform(0.02, 0.06)):
            rectangle(image, x, 0, x + side * 0.008, floor_line, scaled(wall, 0.88))
    vanishing = np.array([side * rng.uniform(0.3, 0.7), horizon])
    for x in np.arange(-side, 2 * side, side * rng.uniform(0.08, 0.2)):
        foot = np.array([x, float(side)])
        start = foot + (vanishing - foot) * (side - floor_line) / (side - horizon)
        paint_line(image, np.array([start, foot]), scaled(floor, 0.7), side / 300)
    for _ in range(rng.integers(1, 5)):
        x, y = side * rng.uniform(-0.05, 0.9), side * rng.uniform(0.0, 0.3)
        width, height = side * rng.uniform(0.08, 0.25), side * rng.uniform(0.08, 0.3)
        frame = scaled(muted(rng), 0.8)
        rectangle(image, x, y, x + width, min(y + height, floor_line), frame)
        border = side * 0.012
        rectangle(image, x + border, y + border, x + width - border, min(y + height, floor_line) - border, muted(rng))
        rectangle(image, x + width / 2 - 1, y + border, x + width / 2 + 1, min(y + height, floor_line) - border, frame)
    for _ in range(rng.integers(0, 4)):
        x, width = side * rng.uniform(-0.1, 0.9), side * rng.uniform(0.08, 0.3)
        top = floor_line - side * rng.uniform(0.05, 0.3)
        wood = muted(rng)
        rectangle(image, x, top, x + width, floor_line + side * 0.03, wood)
        for y in np.arange(top, floor_line, side * 0.05):
            rectangle(image, x, y, x + width, y + side * 0.006, scaled(wood, 0.7))
    rectangle(image, 0, floor_line - side * 0.012, side, floor_line, scaled(wall, 0.6))


def paint_street(image: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Paint a pale sky, houses with rows of windows, trees, a kerb and pavement."""
    side = len(image)
    ground = round(horizon + side * 0.1)
    sky = colour(rng.uniform(0.52, 0.62), rng.uniform(0.03, 0.25), rng.uniform(0.75, 0.95))
    fade(image, 0, ground, sky, scaled(sky, 1.05))
    x = -side * rng.uniform(0, 0.2)
    while x < side:
        width, top = side * rng.uniform(0.15, 0.4), horizon - side * rng.uniform(0.1, 0.5)
        house, pane = muted(rng), scaled(muted(rng), 0.7)
        rectangle(image, x, top, x + width, ground, house)
        step = side * rng.uniform(0.05, 0.09)
        for window_x in np.arange(x + step / 2, x + width - step / 2, step):
            for window_y in np.arange(top + step / 2, ground - step, step * 1.4):
                rectangle(image, window_x, window_y, window_x + step * 0.5, window_y + step * 0.8, pane)
        x += width
    for _ in range(rng.integers(0, 4)):
        x, crown = side * rng.uniform(0, 1), side * rng.uniform(0.05, 0.1)
        rectangle(image, x - side * 0.012, horizon - side * 0.15, x + side * 0.012, ground, colour(0.08, 0.4, 0.3))
        for _ in range(7):
            leaf = colour(rng.uniform(0.2, 0.35), 0.35, rng.uniform(0.25, 0.5))
            paint_dot(image, np.array([x, horizon - side * 0.2]) + rng.normal(0, crown * 0.6, 2), crown * 0.7, leaf)
    pavement = colour(rng.random(), 0.06, rng.uniform(0.35, 0.7))
    fade(image, ground, side, scaled(pavement, 0.85), scaled(pavement, 1.1))
    rectangle(image, 0, ground, side, ground + side * 0.015, scaled(pavement, 1.3))
    for share in (0.08, 0.2, 0.4, 0.7):
        y = ground + share * (side - ground)
        paint_line(image, np.array([(0.0, y), (float(side), y)]), scaled(pavement, 0.8), side / 256)


def paint_field(image: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Paint a blue sky with clouds, a line of trees or water, and a mown field with white lines."""
    side = len(image)
    line = round(horizon + side * 0.08)
    sky = colour(rng.uniform(0.54, 0.62), rng.uniform(0.55, 0.9), rng.uniform(0.75, 1.0))
    fade(image, 0, line, sky, (250.0, 235.0, 215.0))
    for _ in range(rng.integers(0, 5)):
        centre = side * rng.uniform((0, 0), (1, 0.35))
        for _ in range(6):
            paint_dot(
                image, centre + rng.normal(0, 1, 2) * (side * 0.05, side * 0.012), side * 0.03, (250.0, 248.0, 245.0)
            )
    hills = colour(rng.uniform(0.25, 0.42), 0.75, rng.uniform(0.25, 0.5))
    for x in np.arange(0, side, side * 0.045):
        paint_dot(image, np.array([x, line - side * rng.uniform(0.0, 0.05)]), side * 0.05, hills)
    hue = rng.choice((0.28, 0.3, 0.33, 0.12))
    grass = colour(hue, rng.uniform(0.65, 0.95), rng.uniform(0.5, 0.8))
    fade(image, line, side, scaled(grass, 0.85), scaled(grass, 1.1))
    vanishing = np.array([side * rng.uniform(0.2, 0.8), line - side * 0.05])
    for x in np.arange(-2 * side, 3 * side, side * 0.44):
        stripe = np.array([(x, side), (x + side * 0.22, side), vanishing])
        stripe[2, 1] = line
        paint_polygon(image, stripe, scaled(grass, 0.82))
    for _ in range(rng.integers(0, 3)):
        y = rng.uniform(line, side)
        paint_line(
            image,
            np.array([(0.0, y), (float(side), y + side * rng.uniform(-0.1, 0.1))]),
            (245.0, 250.0, 245.0),
            side / 90,
        )


def paint_court(image: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Paint a hall: stands full of coloured dots or broad stripes, banners, and a vivid floor with lines."""
    side = len(image)
    line = round(horizon + side * 0.12)
    if rng.random() < 0.5:
        step = side // 36
        count = side // step + 1
        hsv = rng.uniform((0, 0.5, 0.4), (360, 1, 1), (count, count, 3)).astype(np.float32)
        spectators = (
            (255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)).astype(np.uint8).repeat(step, axis=0).repeat(step, axis=1)
        )
        seat = cv2.circle(np.zeros((step, step), np.uint8), (step // 2, step // 2), round(0.38 * step), 1, -1)
        stands = spectators * np.tile(seat, (count, count))[:, :, None]
        image[:line] = np.maximum(stands[:line, :side], np.array(scaled(vivid(rng), 0.35), dtype=np.uint8))
    else:
        one, other = vivid(rng), vivid(rng)
        slant, width = side * rng.uniform(-0.3, 0.3), side * rng.uniform(0.04, 0.12)
        image[:line] = np.array(one, dtype=np.uint8)
        for x in np.arange(-side, 2 * side, 2 * width):
            paint_polygon(
                image, np.array([(x, 0), (x + width, 0), (x + width + slant, line), (x + slant, line)]), other
            )
    x = -side * rng.uniform(0, 0.2)
    while x < side:
        width = side * rng.uniform(0.12, 0.3)
        rectangle(image, x, line - side * 0.07, x + width, line, vivid(rng))
        x += width
    floor = vivid(rng)
    fade(image, line, side, scaled(floor, 0.85), scaled(floor, 1.05))
    paint = (250.0, 250.0, 250.0) if rng.random() < 0.6 else vivid(rng)
    for _ in range(rng.integers(1, 5)):
        start, end = side * rng.uniform((-0.3, 0), (1.3, 1), (2, 2))
        start[1], end[1] = (line + (side - line) * y / side for y in (start[1], end[1]))
        paint_line(image, np.array([start, end]), paint, side / 70)


def paint_background(style: Style, horizon: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image, uint8 (side, side, 3), of an empty place. `horizon` is eye level in pixels from the top."""
    image = np.zeros((side, side, 3), dtype=np.uint8)
    if style == "everyday":
        (paint_room if rng.random() < 0.5 else paint_street)(image, horizon, rng)
        return textured(image, rng.uniform(4, 11), rng)
    (paint_field if rng.random() < 0.55 else paint_court)(image, horizon, rng)
    return textured(image, rng.uniform(1, 4), rng)


def sample_occluder(style: Style, side: int, rng: np.random.Generator) -> list[tuple[np.ndarray, Colour]]:
    """Return polygons (N, 2), in pixels, and colours of something that stands in front of people."""
    paint = muted(rng) if style == "everyday" else vivid(rng)
    x = side * rng.uniform(0.0, 1.0)
    kind = rng.integers(3)
    if kind == 0:
        width, lean = side * rng.uniform(0.025, 0.06), side * rng.uniform(-0.05, 0.05)
        pole = np.array([(x, -side), (x + width, -side), (x + width + lean, 2 * side), (x + lean, 2 * side)])
        shine = pole + np.array([(width * 0.25, 0), (-width * 0.45, 0), (-width * 0.45, 0), (width * 0.25, 0)])
        return [(pole, scaled(paint, 0.7)), (shine, paint)]
    width, top = side * rng.uniform(0.15, 0.4), side * rng.uniform(0.72, 0.9)
    if kind == 1:
        front = np.array([(x, top), (x + width, top), (x + width, 2 * side), (x, 2 * side)])
        board = np.array(
            [
                (x - 0.02 * side, top - 0.03 * side),
                (x + width + 0.02 * side, top - 0.03 * side),
                (x + width, top),
                (x, top),
            ]
        )
        return [(front, scaled(paint, 0.75)), (board, scaled(paint, 1.1))]
    leaves = []
    green = colour(rng.uniform(0.22, 0.36), 0.4 if style == "everyday" else 0.9, rng.uniform(0.4, 0.7))
    angle = np.linspace(0, 2 * np.pi, 9)[:-1]
    for _ in range(14):
        centre = np.array([x, top + 0.12 * side]) + rng.normal(0, 0.05 * side, 2)
        blob = centre + side * rng.uniform(0.03, 0.06) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        leaves.append((blob, scaled(green, rng.uniform(0.6, 1.1))))
    return leaves
