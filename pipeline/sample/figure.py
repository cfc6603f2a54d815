"""Painting one person: its parts from back to front, face, hair and clothes, and where each part ended up on top."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pipeline.sample.body import BODY, HEAD_POINTS, SIDES, Body
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
"""Which way each part of the face looks, in the head's axes, and the cosine to the viewer below which it is lost."""

HEAD_KEYPOINTS = tuple(HEAD_POINTS)
SKULL = ((0.0, 0.152, -0.008), 0.108), ((0.0, 0.080, 0.022), 0.078)
"""Cranium and jaw: centre in the head's axes and radius, in metres."""


def sphere_points(count: int) -> np.ndarray:
    """Float (count, 3): unit vectors spread evenly (a Fibonacci sphere)."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)


SCALP = sphere_points(160)
SCALP = SCALP[SCALP[:, 1] > np.interp(SCALP[:, 2], (-0.6, -0.2, 0.3, 1.0), (-0.75, 0.0, 0.42, 0.62))]
"""Where hair grows on a unit skull: from the nape over the ears up to the forehead."""


@dataclass(frozen=True)
class Part:
    """A convex, round part of a person: the hull of balls given in body axes."""

    name: str
    balls: np.ndarray
    """float64 (N, 3) metres."""
    radii: np.ndarray
    """float64 (N,) metres."""
    paint: Colour
    shows: tuple[str, ...] = ()
    """Keypoints that are visible where this part is on top."""
    nearer: float = 0.0
    """Metres by which it is painted as if it were nearer."""
    limb: str = ""
    """Neighbouring parts of one limb and one colour are painted as one."""
    over: str = ""
    """The part it is worn over, and so painted right after."""


@dataclass(frozen=True)
class Figure:
    """A person in the picture, before anything is painted."""

    body: Body
    look: Look
    view: View

    @property
    def keypoints(self) -> np.ndarray:
        """Float (27, 2): every keypoint of BODY in picture pixels."""
        return self.view.project(self.body.keypoints)[0]

    @property
    def faces_camera(self) -> float:
        """Cosine between where the chest faces and the viewer: 1 from the front, -1 from behind."""
        return float(self.view.turned(self.body.chest.T[2:])[0, 2])

    @property
    def face_to_camera(self) -> float:
        """Cosine between where the face looks and the viewer."""
        return float(self.view.turned(self.body.head.T[2:])[0, 2])

    @property
    def turned_away(self) -> np.ndarray:
        """Bool (27,): eyes, ears and nose on the far side of the head."""
        away = np.zeros(len(BODY), dtype=bool)
        for name, (normal, limit) in FACE_NORMALS.items():
            away[BODY.index(name)] = self.view.turned((self.body.head @ normal)[None])[0, 2] < limit
        return away

    @property
    def head_outline(self) -> tuple[np.ndarray, np.ndarray]:
        """The skull's balls in the picture: centres (2, 2) and radii (2,) in pixels."""
        centres, scale, _ = self.view.project(self.body.on_head([centre for centre, _ in SKULL]))
        return centres, scale * self.body.unit * np.array([radius for _, radius in SKULL])


def arm_parts(body: Body, look: Look, side: str, hand: np.ndarray) -> list[Part]:
    """One arm and its sleeve."""
    girth = body.unit * body.build.girth
    shoulder, elbow, wrist = (f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist"))
    at_shoulder, at_elbow, at_wrist = body.at(shoulder), body.at(elbow), body.at(wrist)
    limb = f"{side}_arm"
    cover = look.shirt if look.sleeves == "long" else look.skin

    def part(
        name: str, ends: list[np.ndarray], radii: tuple[float, ...], paint: Colour, *shows: str, over: str = ""
    ) -> Part:
        return Part(f"{side}_{name}", np.array(ends), girth * np.array(radii), paint, shows, 0.03, limb, over)

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


def leg_parts(body: Body, look: Look, side: str) -> list[Part]:
    """One leg, its shoe and what covers it."""
    girth = body.unit * body.build.girth
    hip, knee, ankle = (f"{side}_{joint}" for joint in ("hip", "knee", "ankle"))
    at_hip, at_knee, at_ankle = body.at(hip), body.at(knee), body.at(ankle)
    toes = (f"{side}_heel", f"{side}_big_toe", f"{side}_small_toe")
    sole = [body.at(toes[0]), at_ankle, body.at(toes[1]), body.at(toes[2])]
    limb = f"{side}_leg"
    cover = look.trousers if look.legwear == "long" else look.skin

    def part(
        name: str, ends: list[np.ndarray], radii: tuple[float, ...], paint: Colour, *shows: str, over: str = ""
    ) -> Part:
        return Part(f"{side}_{name}", np.array(ends), girth * np.array(radii), paint, shows, 0.0, limb, over)

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


def trunk_parts(body: Body, look: Look) -> list[Part]:
    """Trunk, hips, neck and what hangs from them."""
    girth = body.unit * body.build.girth
    shoulders = [body.at("left_shoulder"), body.at("right_shoulder")]
    hips = [body.at("left_hip"), body.at("right_hip")]
    thorax, pelvis, neck = body.at("thorax"), body.at("pelvis"), body.at("upper_neck")
    waist = 0.4 * thorax + 0.6 * pelvis
    chest = body.on_chest([(0.075, -0.12, 0.02), (-0.075, -0.12, 0.02)])
    parts = [
        Part(
            "trunk",
            np.array([*(0.9 * s + 0.1 * thorax for s in shoulders), *chest, waist, *hips, thorax]),
            girth * np.array([0.052, 0.052, 0.090, 0.090, 0.100, 0.068, 0.068, 0.062]),
            look.shirt,
        ),
        Part(
            "hips",
            np.array([*hips, 0.8 * pelvis + 0.2 * thorax]),
            girth * np.array([0.088, 0.088, 0.095]),
            look.trousers,
            (),
            -0.05,
        ),
        Part(
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
            Part("skirt", np.array([*hips, *hem]), girth * np.array([0.09, 0.09, 0.1, 0.1]), look.trousers, (), 0.03)
        )
    return parts


def head_parts(body: Body, look: Look, face: float) -> list[Part]:
    """Skull and long hair; all else is painted onto the skull. `face` is the cosine between face and viewer."""
    skull = np.array([centre for centre, _ in SKULL])
    radii = body.unit * np.array([radius for _, radius in SKULL])
    parts = [Part("head", body.on_head(skull), radii, look.skin, (*HEAD_KEYPOINTS, "upper_neck"), 0.03)]
    if look.haircut == "long":
        mane = body.on_head([(0.0, 0.14, -0.05), (0.045, -0.02, -0.075), (-0.045, -0.02, -0.075)])
        parts.append(Part("mane", mane, body.unit * np.array([0.105, 0.06, 0.06]), look.hair, (), -0.15 * face))
    return parts


def paint_head(picture: np.ndarray, figure: Figure, light: np.ndarray) -> None:
    """Ears, scalp, cap, eyes, nose and mouth, as far as they are on the near side, onto a painted skull."""
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
            paint_hull(picture, scalp[near], look.cap if look.haircut == "cap" else look.hair)
            shine = view.project(body.on_head([(0.0, 0.21, -0.02)]))[0][0] + light * 0.02 * metre
            paint_dot(picture, shine, 0.04 * metre, scaled(look.cap if look.haircut == "cap" else look.hair, 1.15))
    for name in ("left_ear", "right_ear"):
        if not away[name]:
            paint_dot(picture, place[name], 0.021 * metre, scaled(look.skin, 0.72))
            paint_dot(picture, place[name], 0.012 * metre, scaled(look.skin, 0.95))
    for name in ("left_eye", "right_eye"):
        if not away[name]:
            paint_dot(picture, place[name], 0.019 * metre, WHITE)
            paint_dot(picture, place[name], 0.012 * metre, DARK)
            x = np.sign(HEAD_POINTS[name][0])
            brow = view.project(body.on_head([(x * 0.02, 0.156, 0.098), (x * 0.058, 0.157, 0.082)]))[0]
            paint_line(picture, brow, scaled(look.hair, 0.8), 0.012 * metre)
    if not away["nose"]:
        bridge = view.project(body.on_head([(0, 0.125, 0.098)]))[0][0]
        ridge = outlines(np.array([bridge, place["nose"]]), metre * np.array([0.007, 0.014]), light)
        paint_round(picture, [ridge], scaled(look.skin, 0.93))
        mouth = view.project(body.on_head([(0.03, 0.05, 0.09), (0.0, 0.044, 0.1), (-0.03, 0.05, 0.09)]))[0]
        paint_line(picture, mouth, LIPS, 0.012 * metre)
    if look.haircut == "cap":
        brim = view.project(
            body.on_head([(0.07, 0.185, 0.07), (-0.07, 0.185, 0.07), (0.05, 0.178, 0.18), (-0.05, 0.178, 0.18)])
        )[0]
        if not away["nose"]:
            paint_round(picture, [outlines(brim, np.full(4, 0.012 * metre), light)], scaled(look.cap, 0.85))


def paint_chest(picture: np.ndarray, figure: Figure) -> None:
    """Stripes all round the shirt; collar and buttons, badge or number on its front."""
    body, look, view = figure.body, figure.look, figure.view
    facing = figure.faces_camera
    metre = view.scale * body.unit
    front = 0.11 if facing > 0 else -0.09
    if look.striped and abs(facing) > 0.35:
        for height in (-0.1, -0.2, -0.3):
            half = 0.135 * body.build.girth
            stripe = view.project(body.on_chest([(half, height, 0), (0, height, front), (-half, height, 0)]))[0]
            paint_line(picture, stripe, look.mark, 0.035 * metre)
    if facing < 0.25:
        return
    if look.chest == "open":
        paint_polygon(
            picture,
            view.project(body.on_chest([(0.06, 0.03, 0.05), (-0.06, 0.03, 0.05), (0, -0.13, front)]))[0],
            look.skin,
        )
    else:
        paint_polygon(
            picture,
            view.project(body.on_chest([(0.05, 0.03, 0.05), (-0.05, 0.03, 0.05), (0, -0.04, front)]))[0],
            look.skin,
        )
        edge = view.project(body.on_chest([(0.06, 0.03, 0.05), (0, -0.055, front), (-0.06, 0.03, 0.05)]))[0]
        paint_line(picture, edge, look.mark, 0.015 * metre)
    if look.chest == "buttons":
        for dot in view.project(body.on_chest([(0, height, front) for height in (-0.1, -0.18, -0.26, -0.34)]))[0]:
            paint_dot(picture, dot, 0.012 * metre, look.mark)
    if look.chest == "badge":
        corners = [(0.06, -0.12, front), (-0.06, -0.12, front), (-0.06, -0.22, front), (0.06, -0.22, front)]
        paint_polygon(picture, view.project(body.on_chest(corners))[0], look.mark)
    if look.chest == "number":
        for x in (0.035, -0.035):
            paint_line(
                picture, view.project(body.on_chest([(x, -0.1, front), (x, -0.25, front)]))[0], look.mark, 0.035 * metre
            )


def paint_figure(picture: np.ndarray, figure: Figure, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint the person into the picture (H, W, 3), lit from the direction `light` (2,) in the picture.

    Returns its silhouette, bool (H, W), and which keypoints are inside and not hidden by its own body, bool (27,)."""
    body, look = figure.body, figure.look
    parts = trunk_parts(body, look) + head_parts(body, look, figure.face_to_camera)
    for (side, _), hand in zip(SIDES, body.hands, strict=True):
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
        paint_round(picture, [shape for _, shape, _ in group], paint)
        if group[0][0].name == "trunk":
            paint_chest(picture, figure)
        elif group[0][0].name == "head":
            paint_head(picture, figure, light)

    labels = np.zeros(picture.shape[:2], dtype=np.uint8)
    for label, (_, shape, _) in enumerate(pieces, start=1):
        label_round(labels, shape, label)

    return labels > 0, not_hidden_by_itself(figure, labels, pieces)


def not_hidden_by_itself(
    figure: Figure, labels: np.ndarray, pieces: list[tuple[Part, np.ndarray, float]]
) -> np.ndarray:
    """Bool (27,): which keypoints are inside the picture and on top of their own body.

    `labels` (H, W) says which piece, counted from 1, is on top; a piece is a part, its outlines and how near it is."""
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
