"""Views: the picture regions in which every teacher and student sees a person. Drawn once, kept as data, never replayed from a seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError, one_line
from pipeline.frames import Regions, regions_of_boxes
from pipeline.people.people import People
from pipeline.people.table import read_parquet, write_parquet

PLAIN, STRONG, WEAK = "plain", "strong", "weak"
KINDS = (PLAIN, STRONG, WEAK)

SCALE = {STRONG: (0.6, 1.4), WEAK: (0.75, 1.25)}
ROTATION = 80.0
WEAK_ROTATION = 0.75
"""Largest rotation of strong views in degrees, and the weak ones' share of it. Scale and rotation are RTMPose's in its two
training stages; half of a limit is one standard deviation."""

ROTATION_PROBABILITY = 0.6
SHIFT_PROBABILITY, SHIFT = 0.3, 0.16
HALF_BODY_PROBABILITY, HALF_BODY_MARGIN = 0.3, 1.2
HALF_BODY_MIN_KEYPOINTS = 8

DRAWS = np.dtype((np.float64, 6))
"""Of one view."""


@dataclass(frozen=True)
class Views:
    """V views of N people, in image pixels and unpadded. Row n is row n of the people table."""

    person: np.ndarray
    """int64 (N,)."""
    kinds: tuple[str, ...]
    """V names out of KINDS: a view is of the same kind for everybody."""
    center: np.ndarray
    """float64 (N, V, 2): x, y."""
    size: np.ndarray
    """float64 (N, V, 2): width, height."""
    rotation: np.ndarray
    """float64 (N, V): degrees, see pipeline.frames."""

    def __len__(self) -> int:
        return len(self.kinds)

    def regions(self, rows: int | np.ndarray | slice, view: int | np.ndarray | slice) -> Regions:
        """The regions of those people in that view (one for all, or one each), flattened to one row each."""
        center, size, rotation = self.center[rows, view], self.size[rows, view], self.rotation[rows, view]
        return Regions(center.reshape(-1, 2), size.reshape(-1, 2), rotation.reshape(-1))

    def only(self, rows: np.ndarray, view: int) -> "Views":
        """One view of the people at those positions."""
        one = slice(view, view + 1)
        return Views(
            self.person[rows], self.kinds[one], self.center[rows, one], self.size[rows, one], self.rotation[rows, one]
        )

    def first(self, count: int | None) -> "Views":
        """Only the first `count` views; all of them if it is None."""
        return Views(
            self.person, self.kinds[:count], self.center[:, :count], self.size[:, :count], self.rotation[:, :count]
        )


def kinds_of(count: int) -> tuple[str, ...]:
    """Kinds of `count` views: the first is plain, every fourth weak, the others strong."""
    return tuple(PLAIN if v == 0 else WEAK if v % 4 == 3 else STRONG for v in range(count))


def draw_views(people: People, count: int, seed: int, limit: float = ROTATION) -> Views:
    """`count` views of each person, turned up to `limit` degrees; each has its own stream, SeedSequence([seed, person, view])."""
    kinds = kinds_of(count)
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
    """Centre (2,), size (2,) and rotation in degrees of one view of a kind other than plain, in image pixels."""
    draws = np.array([_draw(random)])
    center, size, rotation = _moved(people, slice(row, row + 1), kind, draws, limit)
    return center[0], size[0], float(rotation[0])


def _stream(seed: int, person: int, view: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, person, view]))


def _draw(random: np.random.Generator) -> tuple[float, ...]:
    """What chance says of one view: half body or not, of the upper or the lower half, and bells of scale, rotation and shift in x and y."""
    half = random.random() < HALF_BODY_PROBABILITY
    of_upper = random.random() < 0.5
    scale = _bell(random)
    turn = _bell(random) if random.random() < ROTATION_PROBABILITY else 0.0
    shift = (_bell(random), _bell(random)) if random.random() < SHIFT_PROBABILITY else (0.0, 0.0)
    return half, of_upper, scale, turn, *shift


def _bell(random: np.random.Generator) -> float:
    """A normal draw of standard deviation one half, cut to -1..1."""
    return min(max(random.normal(0.0, 0.5), -1.0), 1.0)


def _moved(
    people: People, rows: slice, kind: str, draws: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (N, 2), sizes (N, 2) and rotations (N,) of one view of each of the people in `rows`, of what was drawn (N, 6) for them."""
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
        center = center + np.stack(shift, axis=1) * SHIFT * size
    low_scale, high_scale = SCALE[kind]
    factor = 1 + scale * ((high_scale - low_scale) / 2)
    return center, size * factor[:, None], turn * limit * (1 if kind == STRONG else WEAK_ROTATION)


def write_views(views: Views, path: Path) -> None:
    """One Parquet row per person and view, written beside its place and renamed."""
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
    """The views of a people table; UserError where the file is absent or not ours."""
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
