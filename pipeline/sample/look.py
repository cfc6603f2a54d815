"""Looks of people: skin, hair, clothes and the colours of each style. Paints nothing."""

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.sample.pose import Style

Colour = tuple[float, float, float]
"""Blue, green, red in 0-255, as OpenCV paints."""


@dataclass(frozen=True)
class Look:
    """Look of a person. Left and right are the same, so that sides can only be told by the way the person faces."""

    skin: Colour
    hair: Colour
    haircut: Literal["short", "long", "bald", "cap"]
    cap: Colour
    shirt: Colour
    sleeves: Literal["none", "short", "long"]
    mark: Colour
    """Collar, buttons or badge on the chest, and stripes."""
    chest: Literal["buttons", "badge", "number", "open"]
    striped: bool
    legwear: Literal["long", "shorts", "skirt"]
    trousers: Colour
    socks: Colour
    shoes: Colour


def colour(hue: float, saturation: float, value: float) -> Colour:
    """Return blue, green and red of a colour given as hue, saturation and value in 0-1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return 255 * blue, 255 * green, 255 * red


def scaled(paint: Colour, gain: float) -> Colour:
    """Return a lighter or darker shade."""
    blue, green, red = (min(max(channel * gain, 0), 255) for channel in paint)
    return blue, green, red


def sample_cloth(style: Style, rng: np.random.Generator) -> Colour:
    """Draw a colour of cloth: muted in everyday scenes, saturated at sport, sometimes black or white."""
    if rng.random() < 0.12:
        return colour(rng.random(), 0.05, rng.choice((0.15, 0.93)))
    if style == "everyday":
        return colour(rng.random(), rng.uniform(0.04, 0.38), rng.uniform(0.22, 0.78))
    return colour(rng.random(), rng.uniform(0.75, 1.0), rng.uniform(0.6, 1.0))


def sample_skin(rng: np.random.Generator) -> Colour:
    """Draw a skin tone from light to dark."""
    tone = rng.random()
    return colour(rng.uniform(0.045, 0.075), 0.30 + 0.32 * tone + rng.uniform(-0.05, 0.05), 0.95 - 0.58 * tone)


def sample_hair(rng: np.random.Generator) -> Colour:
    """Draw black, brown, blond, red or grey hair."""
    if rng.random() < 0.12:
        return colour(0.1, 0.05, rng.uniform(0.55, 0.85))
    return colour(rng.uniform(0.03, 0.12), rng.uniform(0.35, 0.75), rng.choice((0.12, 0.25, 0.4, 0.75)))


def sample_look(style: Style, rng: np.random.Generator) -> Look:
    """Draw a random person's skin, hair and clothes."""
    sport = style == "sport"
    return Look(
        skin=sample_skin(rng),
        hair=sample_hair(rng),
        haircut=rng.choice(("short", "long", "bald", "cap"), p=(0.5, 0.28, 0.07, 0.15)),
        cap=sample_cloth(style, rng),
        shirt=sample_cloth(style, rng),
        sleeves=rng.choice(("none", "short", "long"), p=(0.35, 0.5, 0.15) if sport else (0.08, 0.37, 0.55)),
        mark=sample_cloth(style, rng),
        chest=rng.choice(("badge", "number", "open") if sport else ("buttons", "badge", "open")),
        striped=bool(rng.random() < (0.5 if sport else 0.15)),
        legwear=rng.choice(("long", "shorts", "skirt"), p=(0.3, 0.65, 0.05) if sport else (0.72, 0.14, 0.14)),
        trousers=sample_cloth(style, rng),
        socks=sample_cloth(style, rng),
        shoes=sample_cloth(style, rng),
    )
