"""Draws one image: a place, people in it, what hides them, and what an annotator would label. Writes no files."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.sample.background import muted, paint_background, sample_occluder
from pipeline.sample.body import BODY, pose_body, sample_build
from pipeline.sample.camera import image_from_level, look_at
from pipeline.sample.figure import Figure, paint_figure
from pipeline.sample.look import sample_look
from pipeline.sample.paint import cover_polygon, fixed_point, outlines, paint_polygon, paint_round
from pipeline.sample.pose import Pose, Style, sample_pose

NOMINAL_SIZE = 256
"""Side of the image that lengths in pixels are stated for."""

MOST_HIDDEN = 0.35
"""Largest share of a person's keypoints that an object in front may hide."""

GUESSED = 0.85
"""Probability that an annotator labels a keypoint that something hides."""


@dataclass(frozen=True)
class Person:
    """The truth about one person in an image. The centre of the first pixel is (0, 0)."""

    keypoints: np.ndarray
    """float64 (27, 2): x, y of every keypoint of BODY, wherever it is."""
    inside: np.ndarray
    """bool (27,): within the image."""
    visible: np.ndarray
    """bool (27,): within the image and nothing in front of it."""
    labelled: np.ndarray
    """bool (27,): labelled by COCO's rules: no face that is turned away, and not all hidden keypoints."""
    box: np.ndarray
    """float64 (4,): x, y, width, height of the silhouette, cut at the image's border."""
    area: float
    """Square pixels of the silhouette within the image."""
    head_box: np.ndarray
    """float64 (4,): x1, y1, x2, y2 around the head from upper neck to head top."""
    faces_camera: float
    """Cosine of the angle between chest and viewer: 1 from the front, -1 from behind."""
    crowd: bool = False
    """True for a group of people that is annotated as one."""


@dataclass(frozen=True)
class Scene:
    """An image, uint8 (size, size, 3) in blue, green, red, and the people in it."""

    image: np.ndarray
    people: tuple[Person, ...]


@dataclass(frozen=True)
class Styles:
    """Styles of a scene's place, poses and looks."""

    place: Style
    pose: Style
    look: Style


@dataclass(frozen=True)
class Camera:
    """Camera of a scene: horizon in level pixels from the top, eye level in metres, pitch and roll in degrees."""

    horizon: float
    height: float
    pitch: float
    roll: float


def sample_styles(home: Style, mixing: float, rng: np.random.Generator) -> Styles:
    """Draw the styles of a scene: each is the home style, or the other with probability `mixing`."""
    other: Style = "sport" if home == "everyday" else "everyday"
    place, pose, look = (other if rng.random() < mixing else home for _ in range(3))
    return Styles(place, pose, look)


def sample_camera(style: Style, size: int, rng: np.random.Generator) -> Camera:
    """Draw a camera: nearly level in everyday scenes, rolled by up to 35 degrees at sport."""
    roll = rng.normal(0, 2.5) if style == "everyday" else rng.uniform(-35, 35)
    pitch = rng.uniform(-2, 14) if style == "everyday" else rng.uniform(-14, 24)
    return Camera(size * rng.uniform(0.25, 0.42), rng.uniform(1.0, 1.6), pitch, roll)


def sample_yaw(style: Style, rng: np.random.Generator) -> float:
    """Draw the yaw of a person in degrees: mostly towards the camera in everyday scenes, in any direction at sport."""
    if style == "sport" and rng.random() < 0.5:
        return rng.uniform(-180, 180)
    towards = rng.normal(0, 28)
    return towards if rng.random() < 0.72 else 180 + towards


def outer_box(figure: Figure) -> np.ndarray:
    """Return x1, y1, x2, y2, float (4,), around all keypoints and the flesh around them, wherever they are."""
    flesh = 0.1 * figure.body.unit * figure.view.scale
    points = figure.keypoints
    return np.concatenate([points.min(0) - flesh, points.max(0) + flesh])


def shared(box: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection of two boxes x1, y1, x2, y2 as a share of the smaller one."""
    overlap = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)
    return float(overlap.prod() / min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()))


def stand(figure: Figure, pose: Pose, yaw: float, level_xy: np.ndarray, camera: Camera, size: int) -> Figure:
    """Return the figure with its lowest point on the ground at a pixel of the level image."""
    view = figure.view
    level = look_at(yaw, camera.pitch, 0.0, view.distance, view.scale)
    below = level.project(figure.body.keypoints)[0][:, 1].max() + (0.05 * figure.body.unit + pose.lift) * view.scale
    pelvis = image_from_level(camera.roll, size, size) @ (level_xy[0], level_xy[1] - below, 1.0)
    return replace(figure, view=replace(view, pelvis=pelvis))


def kept_inside(figure: Figure, size: int) -> Figure:
    """Return the figure moved, and made smaller where it has to be, so that all of it is in the image."""
    box = outer_box(figure)
    too_large = max((box[2:] - box[:2]).max() / (0.97 * size), 1.0)
    figure = replace(figure, view=replace(figure.view, scale=figure.view.scale / too_large))
    box = outer_box(figure)
    shift = np.clip(-box[:2], 0, None) - np.clip(box[2:] - (size - 1), 0, None)
    return replace(figure, view=figure.view.moved(shift))


def cut_off(figure: Figure, size: int, rng: np.random.Generator) -> Figure:
    """Return the figure moved over the left, right or lower border by a tenth to a third, unless its head would be lost."""
    box = outer_box(figure)
    share = rng.uniform(0.1, 0.33) * (box[2:] - box[:2])
    shift = ((-box[0] - share[0], 0.0), (size - box[2] + share[0], 0.0), (0.0, size - box[3] + share[1]))[
        rng.integers(3)
    ]
    moved = replace(figure, view=figure.view.moved(np.array(shift)))
    centres, radii = moved.head_outline
    head_kept = (centres - radii[:, None] >= 0).all() and (centres + radii[:, None] <= size - 1).all()
    return moved if head_kept else figure


def sample_figure(
    styles: Styles,
    camera: Camera,
    size: int,
    height: float,
    geometry: np.random.Generator,
    appearance: np.random.Generator,
) -> tuple[Figure, Pose]:
    """Draw a person on the ground, and its pose. A standing adult at its distance is `height` pixels tall."""
    build = sample_build(geometry)
    pose = sample_pose(styles.pose, geometry)
    yaw = sample_yaw(styles.pose, geometry)
    # Children look as far away as adults of the same distance.
    scale = height / 1.73
    distance = geometry.uniform(3.5, 8)
    view = look_at(yaw, camera.pitch, camera.roll, distance, scale)
    figure = Figure(pose_body(build, pose), sample_look(styles.look, appearance), view)
    ground = np.array([size * geometry.uniform(0.08, 0.92), camera.horizon + scale * camera.height])
    return stand(figure, pose, yaw, ground, camera, size), pose


def sample_figures(
    styles: Styles, camera: Camera, size: int, geometry: np.random.Generator, appearance: np.random.Generator
) -> list[tuple[Figure, Pose]]:
    """Draw one to three people that hide each other at most a little, with their poses."""
    wanted = geometry.choice((1, 2, 3), p=(0.35, 0.4, 0.25))
    cut_chance = 0.22 if styles.pose == "everyday" else 0.06
    chosen: list[tuple[Figure, Pose]] = []
    for _ in range(4 * wanted):
        height = size / NOMINAL_SIZE * geometry.uniform(95, 205 if wanted == 1 else 180)
        figure, pose = sample_figure(styles, camera, size, height, geometry, appearance)
        figure = kept_inside(figure, size)
        if geometry.random() < cut_chance:
            figure = cut_off(figure, size, geometry)
        if all(shared(outer_box(figure), outer_box(other)) < 0.3 for other, _ in chosen):
            chosen.append((figure, pose))
        if len(chosen) == wanted:
            break
    return chosen


def sample_far_figures(
    camera: Camera, size: int, count: int, geometry: np.random.Generator, appearance: np.random.Generator
) -> list[tuple[Figure, Pose]]:
    """Draw a row of people near the horizon, too small for anyone to label their joints."""
    height = size / NOMINAL_SIZE * geometry.uniform(24, 38)
    left = geometry.uniform(0.1, 0.9)
    styles = Styles("everyday", "everyday", "everyday")
    row = []
    for position in range(count):
        figure, pose = sample_figure(styles, camera, size, height, geometry, appearance)
        across = size * left + 0.42 * height * position - figure.view.pelvis[0]
        row.append((kept_inside(replace(figure, view=figure.view.moved(np.array([across, 0.0]))), size), pose))
    return row


def paint_shadows(image: np.ndarray, figures: list[tuple[Figure, Pose]], roll: float) -> np.ndarray:
    """Return the image with a soft shadow on the ground below everybody."""
    shade = np.zeros(image.shape[:2], dtype=np.uint8)
    down = image_from_level(roll, 1, 1)[:, :2] @ (0.0, 1.0)
    for figure, pose in figures:
        points = figure.keypoints
        depth = points @ down
        lowest = depth.max() + (0.05 + pose.lift) * figure.view.scale
        near_ground = points[depth > depth.max() - 0.35 * figure.view.scale]
        centre = near_ground.mean(0)
        centre = centre + down * (lowest - centre @ down)
        width = 0.22 * figure.view.scale + 0.5 * np.ptp(near_ground @ (down[1], -down[0]))
        axes = fixed_point(np.array([width, 0.09 * figure.view.scale])).tolist()
        cv2.ellipse(shade, fixed_point(centre).tolist(), axes, -roll, 0, 360, 120, -1, cv2.LINE_AA, 4)
    keep = 255 - cv2.blur(shade, (7, 7))
    return cv2.multiply(image, cv2.merge([keep] * 3), scale=1 / 255)


def paint_seat(image: np.ndarray, figure: Figure, light: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a block for a seated person to sit on into the image."""
    corners = [(x, y, z) for x in (-0.2, 0.2) for y in (-0.16, -0.48) for z in (-0.2, 0.18)]
    block, scale, _ = figure.view.project(figure.body.unit * np.array(corners))
    paint_round(image, [outlines(block, 0.03 * scale, light)], muted(rng))


def at_keypoints(mask: np.ndarray, figure: Figure) -> np.ndarray:
    """Return the values, bool (27,), of a mask (H, W) at the figure's keypoints; outside the image at the nearest pixel."""
    x, y = np.clip(np.rint(figure.keypoints), 0, len(mask) - 1).astype(int).T
    return mask[y, x]


def paint_occluder(image: np.ndarray, figures: list[Figure], style: Style, rng: np.random.Generator) -> np.ndarray:
    """Paint something in front of the people, unless it would hide too much of anyone, and return what it hides (H, W)."""
    size = len(image)
    polygons = sample_occluder(style, size, rng)
    mask = np.zeros((size, size), dtype=np.uint8)
    for polygon, _ in polygons:
        cover_polygon(mask, polygon)
    if any(at_keypoints(mask, figure).mean() > MOST_HIDDEN for figure in figures):
        return np.zeros((size, size), dtype=bool)
    for polygon, paint in polygons:
        paint_polygon(image, polygon, paint)
    return mask > 0


def degraded(image: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Return the image as a camera takes it: noise and a little blur in everyday scenes, motion blur at sport, exposure in both."""
    unit = len(image) / NOMINAL_SIZE
    if style == "sport" and rng.random() < 0.45:
        length = 2 * round(unit * rng.uniform(1, 3.2)) + 1
        angle = rng.uniform(0, np.pi)
        kernel = np.zeros((length, length), dtype=np.float32)
        middle = (length - 1) / 2
        arm = middle * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(kernel, np.rint(middle - arm).astype(int).tolist(), np.rint(middle + arm).astype(int).tolist(), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    elif rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), unit * rng.uniform(0.5, 1.1))
    gain = rng.uniform(0.9, 1.2) if style == "everyday" else rng.uniform(0.9, 1.12)
    grain = rng.integers(0, 1 + round(rng.uniform(4, 18) if style == "everyday" else 6), image.shape, dtype=np.uint8)
    return cv2.addWeighted(image, gain, grain, 1.0, -float(grain[0].mean()))


def describe(figure: Figure, silhouette: np.ndarray, visible: np.ndarray, rng: np.random.Generator) -> Person:
    """Return the truth about a painted figure, of which at least one pixel is in the image."""
    size = len(silhouette)
    keypoints = figure.keypoints
    inside = (keypoints.min(1) >= 0) & (keypoints.max(1) <= size - 1)
    left, top, width, height = cv2.boundingRect(silhouette.astype(np.uint8))
    centres, radii = figure.head_outline
    ends = np.stack([figure.keypoints[BODY.index(name)] for name in ("head_top", "upper_neck")])
    corners = np.concatenate([centres - radii[:, None], centres + radii[:, None], ends])
    return Person(
        keypoints=keypoints,
        inside=inside,
        visible=visible & inside,
        labelled=inside & ~figure.turned_away & (visible | (rng.random(len(BODY)) < GUESSED)),
        box=np.array([left, top, width, height], dtype=np.float64),
        area=float(np.count_nonzero(silhouette)),
        head_box=np.concatenate([corners.min(0), corners.max(0)]),
        faces_camera=figure.faces_camera,
    )


def unlabelled(person: Person) -> Person:
    """Return the person with a box and without labelled keypoints."""
    return replace(person, labelled=np.zeros(len(BODY), dtype=bool))


def crowd_of(people: list[Person]) -> Person:
    """Return one entry for a group: the box around them all, and no labelled keypoints."""
    first = np.min([person.box[:2] for person in people], axis=0)
    last = np.max([person.box[:2] + person.box[2:] for person in people], axis=0)
    area = sum(person.area for person in people)
    return replace(unlabelled(people[0]), box=np.concatenate([first, last - first]), area=area, crowd=True)


def render_scene(
    home: Style, mixing: float, size: int, geometry: np.random.Generator, appearance: np.random.Generator
) -> Scene:
    """Draw a random image, `size` pixels wide and high, and its people.

    `geometry` decides positions and poses, `appearance` decides colours and everything else that does not move a keypoint."""
    styles = sample_styles(home, mixing, geometry)
    camera = sample_camera(styles.pose, size, geometry)
    figures = sample_figures(styles, camera, size, geometry, appearance)
    far: list[tuple[Figure, Pose]] = []
    if home == "everyday" and geometry.random() < 0.16:
        count = 1 if geometry.random() < 0.65 else int(geometry.integers(4, 8))
        far = sample_far_figures(camera, size, count, geometry, appearance)

    canvas = round(1.42 * size)
    empty = paint_background(styles.place, camera.horizon + (canvas - size) / 2, canvas, appearance)
    place_from_canvas = image_from_level(camera.roll, size, canvas)
    image = cv2.warpAffine(
        empty, place_from_canvas, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    near = sorted(figures, key=lambda item: item[0].view.scale)
    image = paint_shadows(image, far + near, camera.roll)

    angle = appearance.uniform(-0.8, 0.8)
    light = np.array([np.sin(angle), -np.cos(angle)])
    painted: list[tuple[Figure, np.ndarray, np.ndarray]] = []
    for figure, pose in far + near:
        if pose.seat:
            paint_seat(image, figure, light, appearance)
        painted.append((figure, *paint_figure(image, figure, light)))

    hidden = np.zeros((size, size), dtype=bool)
    if geometry.random() < (0.4 if styles.place == "everyday" else 0.12):
        hidden = paint_occluder(image, [figure for figure, _ in near], styles.place, appearance)
    # From the nearest to the farthest: whoever is nearer hides what is behind.
    people: list[Person] = []
    for figure, silhouette, visible in reversed(painted):
        people.append(describe(figure, silhouette, visible & ~at_keypoints(hidden, figure), geometry))
        hidden |= silhouette
    people.reverse()
    far_people, near_people = people[: len(far)], people[len(far) :]
    if len(far_people) > 1:
        far_people = [crowd_of(far_people)]
    far_people = [unlabelled(person) for person in far_people]
    return Scene(degraded(image, styles.place, appearance), (*near_people, *far_people))
