"""Paints one person: parts from back to front, face, hair and clothes. Finds where each part is on top."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pipeline.sample.body import BODY, HEAD_POINTS, SIDE_SIGNS, Body
from pipeline.sample.camera import View
from pipeline.sample.look import Colour, Look, scaled
from pipeline.sample.paint import label_round, outlines, paint_dot, paint_hull, paint_line, paint_polygon, paint_round

DARK = (30.0, 25.0, 25.0)
WHITE = (240.0, 240.0, 240.0)
LIPS = (90.0, 80.0, 170.0)

FACE_NORMALS = {
    "nose": ((0.0, 0.0, 1.0), -0.1),
    "left_eye": ((0.45, 0.0, 0.89), 0.0),
    "right_eye": ((-0.45, 0.0, 0.89), 0.0),
    "left_ear": ((1.0, 0.0, -0.1), -0.3),
    "right_ear": ((-1.0, 0.0, -0.1), -0.3),
}
"""Direction of each part of the face in the head's axes, and the cosine to the viewer below which it is hidden."""

HEAD_KEYPOINTS = tuple(HEAD_POINTS)
SKULL = ((0.0, 0.152, -0.008), 0.108), ((0.0, 0.080, 0.022), 0.078)
"""Balls of cranium and jaw: centre in the head's axes and radius, in metres."""


def sphere_points(count: int) -> np.ndarray:
    """Return unit vectors, float (count, 3), that are spread evenly (a Fibonacci sphere)."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)


SPHERE = sphere_points(160)
SCALP = SPHERE[SPHERE[:, 1] > np.interp(SPHERE[:, 2], (-0.6, -0.2, 0.3, 1.0), (-0.75, 0.0, 0.42, 0.62))]
"""Points of a unit skull where hair grows: from the nape over the ears up to the forehead."""


@dataclass(frozen=True)
class BodyPart:
    """A convex, round part of a person: the hull of balls given in body axes."""

    name: str
    balls: np.ndarray
    """float64 (N, 3): centres in metres."""
    radii: np.ndarray
    """float64 (N,): radii in metres."""
    paint: Colour
    shows: tuple[str, ...] = ()
    """Keypoints that are visible where this part is on top."""
    nearer: float = 0.0
    """Metres that are added to its nearness for the order of painting."""
    limb: str = ""
    """Neighbouring parts of one limb and one colour are painted as one."""
    over: str = ""
    """Name of the part that it is worn over, and painted directly after."""


@dataclass(frozen=True)
class Figure:
    """A person in the image, before anything is painted."""

    body: Body
    look: Look
    view: View

    @property
    def keypoints(self) -> np.ndarray:
        """All keypoints of BODY in image pixels, float (27, 2)."""
        return self.view.project(self.body.keypoints)[0]

    @property
    def faces_camera(self) -> float:
        """Cosine of the angle between the chest's direction and the viewer: 1 from the front, -1 from behind."""
        return float(self.view.turned(self.body.chest.T[2:])[0, 2])

    @property
    def face_to_camera(self) -> float:
        """Cosine of the angle between the face's direction and the viewer."""
        return float(self.view.turned(self.body.head.T[2:])[0, 2])

    @property
    def turned_away(self) -> np.ndarray:
        """Mask, bool (27,), of eyes, ears and nose on the far side of the head."""
        away = np.zeros(len(BODY), dtype=bool)
        for name, (normal, limit) in FACE_NORMALS.items():
            away[BODY.index(name)] = self.view.turned((self.body.head @ normal)[None])[0, 2] < limit
        return away

    @property
    def head_outline(self) -> tuple[np.ndarray, np.ndarray]:
        """The skull's balls in the image: centres (2, 2) and radii (2,) in pixels."""
        centres, scale, _ = self.view.project(self.body.on_head([centre for centre, _ in SKULL]))
        return centres, scale * self.body.unit * np.array([radius for _, radius in SKULL])


def arm_parts(body: Body, look: Look, side: str, hand: np.ndarray) -> list[BodyPart]:
    """Return the parts of an arm and its sleeve."""
    girth = body.unit * body.build.girth
    shoulder, elbow, wrist = (f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist"))
    at_shoulder, at_elbow, at_wrist = body.at(shoulder), body.at(elbow), body.at(wrist)
    limb = f"{side}_arm"
    cover = look.shirt if look.sleeves == "long" else look.skin

    def part(
        name: str, ends: list[np.ndarray], radii: tuple[float, ...], paint: Colour, *shows: str, over: str = ""
    ) -> BodyPart:
        return BodyPart(f"{side}_{name}", np.array(ends), girth * np.array(radii), paint, shows, 0.03, limb, over)

    parts = [
        part("upper_arm", [at_shoulder, at_elbow], (0.056, 0.041), cover, shoulder, elbow),
        part("forearm", [at_elbow, at_wrist], (0.040, 0.028), cover, elbow, wrist),
        part("hand", [at_wrist, hand], (0.030, 0.036), look.skin, wrist),
    ]
    if look.sleeves == "short":
        hem = 0.42 * at_shoulder + 0.58 * at_elbow
        sleeve = part("sleeve", [at_shoulder, hem], (0.060, 0.055), look.shirt, shoulder, over=f"{side}_upper_arm")
        parts.append(sleeve)
    return parts


def leg_parts(body: Body, look: Look, side: str) -> list[BodyPart]:
    """Return the parts of a leg, its shoe and what covers it."""
    girth = body.unit * body.build.girth
    hip, knee, ankle = (f"{side}_{joint}" for joint in ("hip", "knee", "ankle"))
    at_hip, at_knee, at_ankle = body.at(hip), body.at(knee), body.at(ankle)
    toes = (f"{side}_heel", f"{side}_big_toe", f"{side}_small_toe")
    sole = [body.at(toes[0]), at_ankle, body.at(toes[1]), body.at(toes[2])]
    limb = f"{side}_leg"
    cover = look.trousers if look.legwear == "long" else look.skin

    def part(
        name: str, ends: list[np.ndarray], radii: tuple[float, ...], paint: Colour, *shows: str, over: str = ""
    ) -> BodyPart:
        return BodyPart(f"{side}_{name}", np.array(ends), girth * np.array(radii), paint, shows, 0.0, limb, over)

    parts = [
        part("thigh", [at_hip, at_knee], (0.088, 0.058), cover, hip, knee),
        part("shin", [at_knee, at_ankle], (0.056, 0.038), cover, knee, ankle),
        part("foot", sole, (0.034, 0.036, 0.030, 0.026), look.shoes, ankle, *toes),
    ]
    if look.legwear != "long":
        cuff = 0.35 * at_knee + 0.65 * at_ankle
        parts.append(part("sock", [cuff, at_ankle], (0.046, 0.040), look.socks, ankle, over=f"{side}_shin"))
    if look.legwear == "shorts":
        hem = 0.3 * at_hip + 0.7 * at_knee
        parts.append(part("shorts", [at_hip, hem], (0.093, 0.078), look.trousers, hip, over=f"{side}_thigh"))
    return parts


def trunk_parts(body: Body, look: Look) -> list[BodyPart]:
    """Return trunk, hips, neck and what hangs from them."""
    girth = body.unit * body.build.girth
    shoulders = [body.at("left_shoulder"), body.at("right_shoulder")]
    hips = [body.at("left_hip"), body.at("right_hip")]
    thorax, pelvis, neck = body.at("thorax"), body.at("pelvis"), body.at("upper_neck")
    waist = 0.4 * thorax + 0.6 * pelvis
    chest = body.on_chest([(0.075, -0.12, 0.02), (-0.075, -0.12, 0.02)])
    parts = [
        BodyPart(
            "trunk",
            np.array([*(0.9 * s + 0.1 * thorax for s in shoulders), *chest, waist, *hips, thorax]),
            girth * np.array([0.052, 0.052, 0.090, 0.090, 0.100, 0.068, 0.068, 0.062]),
            look.shirt,
        ),
        BodyPart(
            "hips",
            np.array([*hips, 0.8 * pelvis + 0.2 * thorax]),
            girth * np.array([0.088, 0.088, 0.095]),
            look.trousers,
            (),
            -0.05,
        ),
        BodyPart(
            "neck",
            np.array([thorax + 0.25 * (neck - thorax), neck]),
            girth * np.array([0.052, 0.046]),
            look.skin,
            ("upper_neck",),
            -0.02,
        ),
    ]
    if look.legwear == "skirt":
        knees = [body.at("left_knee"), body.at("right_knee")]
        hem = [0.35 * hip + 0.65 * knee for hip, knee in zip(hips, knees, strict=True)]
        parts.append(
            BodyPart(
                "skirt", np.array([*hips, *hem]), girth * np.array([0.09, 0.09, 0.1, 0.1]), look.trousers, (), 0.03
            )
        )
    return parts


def head_parts(body: Body, look: Look, face: float) -> list[BodyPart]:
    """Return skull and long hair; everything else is painted onto the skull. `face` is the cosine of the angle between face and viewer."""
    skull = np.array([centre for centre, _ in SKULL])
    radii = body.unit * np.array([radius for _, radius in SKULL])
    parts = [BodyPart("head", body.on_head(skull), radii, look.skin, (*HEAD_KEYPOINTS, "upper_neck"), 0.03)]
    if look.haircut == "long":
        mane = body.on_head([(0.0, 0.14, -0.05), (0.045, -0.02, -0.075), (-0.045, -0.02, -0.075)])
        parts.append(BodyPart("mane", mane, body.unit * np.array([0.105, 0.06, 0.06]), look.hair, (), -0.15 * face))
    return parts


def paint_head(image: np.ndarray, figure: Figure, light: np.ndarray) -> None:
    """Paint ears, scalp, cap, eyes, nose and mouth onto a painted skull, as far as they are on the near side."""
    body, look, view = figure.body, figure.look, figure.view
    pixels, scale, _ = view.project(body.on_head([HEAD_POINTS[name] for name in HEAD_KEYPOINTS]))
    place = dict(zip(HEAD_KEYPOINTS, pixels, strict=True))
    metre = float(scale.mean()) * body.unit
    turned_away = figure.turned_away
    away = {name: bool(turned_away[BODY.index(name)]) for name in FACE_NORMALS}

    if look.haircut != "bald":
        cranium, radius = SKULL[0]
        scalp = view.project(body.on_head(np.array(cranium) + 1.04 * radius * SCALP))[0]
        # Hair on the far side would close over the face, so only what the viewer sees counts.
        near = view.turned(SCALP @ body.head.T)[:, 2] > -0.05
        if near.sum() > 2:
            paint_hull(image, scalp[near], look.cap if look.haircut == "cap" else look.hair)
            shine = view.project(body.on_head([(0.0, 0.21, -0.02)]))[0][0] + light * 0.02 * metre
            paint_dot(image, shine, 0.04 * metre, scaled(look.cap if look.haircut == "cap" else look.hair, 1.15))
    for name in ("left_ear", "right_ear"):
        if not away[name]:
            paint_dot(image, place[name], 0.021 * metre, scaled(look.skin, 0.72))
            paint_dot(image, place[name], 0.012 * metre, scaled(look.skin, 0.95))
    for name in ("left_eye", "right_eye"):
        if not away[name]:
            paint_dot(image, place[name], 0.019 * metre, WHITE)
            paint_dot(image, place[name], 0.012 * metre, DARK)
            x = np.sign(HEAD_POINTS[name][0])
            brow = view.project(body.on_head([(x * 0.02, 0.156, 0.098), (x * 0.058, 0.157, 0.082)]))[0]
            paint_line(image, brow, scaled(look.hair, 0.8), 0.012 * metre)
    if not away["nose"]:
        bridge = view.project(body.on_head([(0, 0.125, 0.098)]))[0][0]
        ridge = outlines(np.array([bridge, place["nose"]]), metre * np.array([0.007, 0.014]), light)
        paint_round(image, [ridge], scaled(look.skin, 0.93))
        mouth = view.project(body.on_head([(0.03, 0.05, 0.09), (0.0, 0.044, 0.1), (-0.03, 0.05, 0.09)]))[0]
        paint_line(image, mouth, LIPS, 0.012 * metre)
    if look.haircut == "cap":
        brim = view.project(
            body.on_head([(0.07, 0.185, 0.07), (-0.07, 0.185, 0.07), (0.05, 0.178, 0.18), (-0.05, 0.178, 0.18)])
        )[0]
        if not away["nose"]:
            paint_round(image, [outlines(brim, np.full(4, 0.012 * metre), light)], scaled(look.cap, 0.85))


def paint_chest(image: np.ndarray, figure: Figure) -> None:
    """Paint stripes around the shirt, and collar and buttons, badge or number on its front."""
    body, look, view = figure.body, figure.look, figure.view
    facing = figure.faces_camera
    metre = view.scale * body.unit
    front = 0.11 if facing > 0 else -0.09
    if look.striped and abs(facing) > 0.35:
        for height in (-0.1, -0.2, -0.3):
            half = 0.135 * body.build.girth
            stripe = view.project(body.on_chest([(half, height, 0), (0, height, front), (-half, height, 0)]))[0]
            paint_line(image, stripe, look.mark, 0.035 * metre)
    if facing < 0.25:
        return
    if look.chest == "open":
        paint_polygon(
            image,
            view.project(body.on_chest([(0.06, 0.03, 0.05), (-0.06, 0.03, 0.05), (0, -0.13, front)]))[0],
            look.skin,
        )
    else:
        paint_polygon(
            image,
            view.project(body.on_chest([(0.05, 0.03, 0.05), (-0.05, 0.03, 0.05), (0, -0.04, front)]))[0],
            look.skin,
        )
        edge = view.project(body.on_chest([(0.06, 0.03, 0.05), (0, -0.055, front), (-0.06, 0.03, 0.05)]))[0]
        paint_line(image, edge, look.mark, 0.015 * metre)
    if look.chest == "buttons":
        for dot in view.project(body.on_chest([(0, height, front) for height in (-0.1, -0.18, -0.26, -0.34)]))[0]:
            paint_dot(image, dot, 0.012 * metre, look.mark)
    if look.chest == "badge":
        corners = [(0.06, -0.12, front), (-0.06, -0.12, front), (-0.06, -0.22, front), (0.06, -0.22, front)]
        paint_polygon(image, view.project(body.on_chest(corners))[0], look.mark)
    if look.chest == "number":
        for x in (0.035, -0.035):
            paint_line(
                image, view.project(body.on_chest([(x, -0.1, front), (x, -0.25, front)]))[0], look.mark, 0.035 * metre
            )


def paint_figure(image: np.ndarray, figure: Figure, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint the person into the image (H, W, 3), lit from the direction `light` (2,) in the image.

    Return its silhouette, bool (H, W), and which keypoints are inside and not hidden by its own body, bool (27,)."""
    body, look = figure.body, figure.look
    parts = trunk_parts(body, look) + head_parts(body, look, figure.face_to_camera)
    for (side, _), hand in zip(SIDE_SIGNS, body.hands, strict=True):
        parts += arm_parts(body, look, side, hand) + leg_parts(body, look, side)
    pixels, scale, nearness = figure.view.project(np.concatenate([part.balls for part in parts]))
    radii = scale * np.concatenate([part.radii for part in parts])
    ends = np.cumsum([len(part.balls) for part in parts])[:-1]
    shapes = [outlines(c, r, light) for c, r in zip(np.split(pixels, ends), np.split(radii, ends), strict=True)]
    means = {part.name: float(near.mean()) for part, near in zip(parts, np.split(nearness, ends), strict=True)}
    pieces = [(part, shape, means[part.over or part.name]) for part, shape in zip(parts, shapes, strict=True)]
    pieces.sort(key=lambda piece: (piece[2] + piece[0].nearer * body.unit, bool(piece[0].over)))

    for (_, paint), together in groupby(pieces, key=lambda piece: (piece[0].limb or piece[0].name, piece[0].paint)):
        group = list(together)
        paint_round(image, [shape for _, shape, _ in group], paint)
        if group[0][0].name == "trunk":
            paint_chest(image, figure)
        elif group[0][0].name == "head":
            paint_head(image, figure, light)

    labels = np.zeros(image.shape[:2], dtype=np.uint8)
    for label, (_, shape, _) in enumerate(pieces, start=1):
        label_round(labels, shape, label)

    return labels > 0, not_hidden_by_itself(figure, labels, pieces)


def not_hidden_by_itself(
    figure: Figure, labels: np.ndarray, pieces: list[tuple[BodyPart, np.ndarray, float]]
) -> np.ndarray:
    """Return the mask, bool (27,), of the keypoints inside the image and on top of their own body.

    `labels` (H, W) holds the piece on top, counted from 1. A piece is a part, its outlines and its nearness."""
    visible = ~figure.turned_away
    nearness = figure.view.turned(figure.body.keypoints)[:, 2]
    height, width = labels.shape
    for k, (x, y) in enumerate(np.rint(figure.keypoints).astype(int).tolist()):
        if not (0 <= x < width and 0 <= y < height):
            visible[k] = False
        elif labels[y, x]:
            part, _, near = pieces[labels[y, x] - 1]
            # A joint shows through a part that it belongs to, or that is no nearer than flesh is thick.
            visible[k] &= BODY.keypoints[k] in part.shows or near < nearness[k] + 0.1 * figure.body.unit
    return visible
