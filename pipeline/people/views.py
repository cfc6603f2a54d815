"""Views: the image regions in which teachers see a person, and the students that replay them. They are drawn once and stored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.common.errors import UserError, one_line
from pipeline.people.people import People
from pipeline.people.table import read_parquet, write_parquet
from pipeline.pose.geometry import Regions, regions_of_boxes

PLAIN, STRONG, WEAK = "plain", "strong", "weak"
KINDS = (PLAIN, STRONG, WEAK)
"""Plain views are the annotated boxes; strong and weak ones are augmented."""

SCALE = {STRONG: (0.6, 1.4), WEAK: (0.75, 1.25)}
"""Smallest and largest factor of a view's size."""
ROTATION = 80.0
WEAK_ROTATION = 0.75
"""Largest rotation of strong views in degrees, and the weak views' share of it. Scale and rotation are RTMPose's in its two
training stages; half of a limit is one standard deviation."""

ROTATION_PROBABILITY = 0.6
SHIFT_PROBABILITY, LARGEST_SHIFT = 0.3, 0.16
"""Probability of a shift, and its limit as a share of the view's size."""
HALF_BODY_PROBABILITY, HALF_BODY_MARGIN = 0.3, 1.2
HALF_BODY_MIN_KEYPOINTS = 8
"""Half-body views show the upper or the lower half of people with at least that many labels, 1.2 times the size of its keypoints."""

DRAWS = np.dtype((np.float64, 6))
"""The random draws of one view, see `_draw`."""


@dataclass(frozen=True)
class Views:
    """V views of N people, in image pixels and unpadded. Row n is row n of the people table."""

    person: np.ndarray
    """int64 (N,): ids of the people."""
    kinds: tuple[str, ...]
    """V names out of KINDS: a view has the same kind for all people."""
    center: np.ndarray
    """float64 (N, V, 2): x, y in image pixels."""
    size: np.ndarray
    """float64 (N, V, 2): width, height in image pixels, unpadded."""
    rotation: np.ndarray
    """float64 (N, V): in degrees, see pipeline.pose.geometry."""

    def __len__(self) -> int:
        return len(self.kinds)

    def regions(self, rows: int | np.ndarray | slice, view: int | np.ndarray | slice) -> Regions:
        """Return the regions of people at `rows` in `view` (one for all, or one each), flattened to one row each."""
        center, size, rotation = self.center[rows, view], self.size[rows, view], self.rotation[rows, view]
        return Regions(center.reshape(-1, 2), size.reshape(-1, 2), rotation.reshape(-1))

    def rows(self, which: np.ndarray | slice, views: slice = slice(None)) -> "Views":
        """Return `views`, by default all, of the people at positions `which`, a slice of them, or where a mask is true."""
        center, size, rotation = (values[which, views] for values in (self.center, self.size, self.rotation))
        return Views(self.person[which], self.kinds[views], center, size, rotation)

    def first(self, count: int | None) -> "Views":
        """Return the first `count` views, or all of them if it is None."""
        return self.rows(slice(None), slice(count))


def view_kinds(count: int) -> tuple[str, ...]:
    """Return the kinds of `count` views: the first is plain, every fourth weak, the others strong."""
    return tuple(PLAIN if v == 0 else WEAK if v % 4 == 3 else STRONG for v in range(count))


def draw_views(people: People, count: int, seed: int, limit: float = ROTATION) -> Views:
    """Draw `count` views of each person, rotated by up to `limit` degrees, each from a stream SeedSequence([seed, person, view])."""
    kinds = view_kinds(count)
    plain = regions_of_boxes(people.box)
    center = np.repeat(plain.center[:, None], count, axis=1)
    size = np.repeat(plain.size[:, None], count, axis=1).clip(1.0)
    rotation = np.zeros((len(people), count))
    for view in range(1, count):
        drawn = (_draw(_stream(seed, person, view)) for person in people.person.tolist())
        draws = np.fromiter(drawn, DRAWS, len(people))
        center[:, view], size[:, view], rotation[:, view] = _moved(people, slice(None), kinds[view], draws, limit)
    return Views(people.person, kinds, center, size, rotation)


def draw_view(
    people: People, row: int, kind: str, random: np.random.Generator, limit: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw one view of a person, not plain: its centre (2,) and size (2,) in image pixels, its rotation in degrees."""
    draws = np.array([_draw(random)])
    center, size, rotation = _moved(people, slice(row, row + 1), kind, draws, limit)
    return center[0], size[0], float(rotation[0])


def _stream(seed: int, person: int, view: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, person, view]))


def _draw(random: np.random.Generator) -> tuple[float, ...]:
    """Draw one view: whether it is a half body, whether the upper half, and normal values of scale, rotation, shift in x and y."""
    half = random.random() < HALF_BODY_PROBABILITY
    of_upper = random.random() < 0.5
    scale = _bell(random)
    turn = _bell(random) if random.random() < ROTATION_PROBABILITY else 0.0
    shift = (_bell(random), _bell(random)) if random.random() < SHIFT_PROBABILITY else (0.0, 0.0)
    return half, of_upper, scale, turn, *shift


def _bell(random: np.random.Generator) -> float:
    """Return a normal draw of standard deviation one half, clipped to -1..1."""
    return min(max(random.normal(0.0, 0.5), -1.0), 1.0)


def _moved(
    people: People, rows: slice, kind: str, draws: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres (N, 2), sizes (N, 2) and rotations (N,) of one view of each person in `rows` from their random draws (N,)."""
    box, labelled = people.box[rows], people.labelled[rows]
    center, size = box[:, :2] + box[:, 2:] / 2, box[:, 2:].clip(1.0)
    half, of_upper, scale, turn, *shift = draws.T
    if kind == STRONG:
        halved = np.flatnonzero((half == 1) & (labelled.sum(axis=1) >= HALF_BODY_MIN_KEYPOINTS))
        if len(halved):
            of_half = labelled[halved] & (people.skeleton.upper_body == (of_upper[halved, None] == 1))
            several = of_half.sum(axis=1) >= 2
            halved, of_half = halved[several], of_half[several, :, None]
            keypoints = people.keypoints[rows][halved]
            low = np.where(of_half, keypoints, np.inf).min(axis=1)
            high = np.where(of_half, keypoints, -np.inf).max(axis=1)
            center[halved] = (low + high) / 2
            size[halved] = np.maximum((high - low) * HALF_BODY_MARGIN, size[halved].max(axis=1, keepdims=True) * 0.2)
        center = center + np.stack(shift, axis=1) * LARGEST_SHIFT * size
    low_scale, high_scale = SCALE[kind]
    factor = 1 + scale * ((high_scale - low_scale) / 2)
    return center, size * factor[:, None], turn * limit * (1 if kind == STRONG else WEAK_ROTATION)


def write_views(views: Views, path: Path) -> None:
    """Write one Parquet row per person and view."""
    people, count = views.rotation.shape
    table = pa.table(
        {
            "person": np.repeat(views.person, count),
            "view": np.tile(np.arange(count, dtype=np.int32), people),
            "kind": pa.array(list(views.kinds) * people, pa.string()),
            "center_x": views.center[:, :, 0].reshape(-1),
            "center_y": views.center[:, :, 1].reshape(-1),
            "width": views.size[:, :, 0].reshape(-1),
            "height": views.size[:, :, 1].reshape(-1),
            "rotation": views.rotation.reshape(-1),
        }
    ).replace_schema_metadata({"kinds": ",".join(views.kinds)})
    write_parquet(table, path)


def read_views(path: Path) -> Views:
    """Read the views of a people table; UserError if the file is missing or of another kind."""
    table = read_parquet(path, "a table of views")
    try:
        kinds = tuple(table.schema.metadata[b"kinds"].decode().split(","))
        shape = (-1, len(kinds))
        columns = {
            name: table[name].to_numpy()
            for name in ("person", "view", "center_x", "center_y", "width", "height", "rotation")
        }
        if not np.array_equal(
            columns["view"].reshape(shape), np.tile(np.arange(len(kinds)), (table.num_rows // len(kinds), 1))
        ):
            raise ValueError("rows out of order")
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: expected a table of views, found {one_line(error)}: run `pipeline prepare`"
        ) from error
    return Views(
        columns["person"].reshape(shape)[:, 0],
        kinds,
        np.stack([columns["center_x"], columns["center_y"]], axis=1).reshape(*(-1, len(kinds)), 2),
        np.stack([columns["width"], columns["height"]], axis=1).reshape(*(-1, len(kinds)), 2),
        columns["rotation"].reshape(shape),
    )
