"""`pipeline cache stats`: what a teacher says over a whole store, against the labels and against other teachers, out of core."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import zarr

from cache.manifest import NAME
from cache.place import place_of
from cache.reader import UNREADABLE
from cache.remote import Remote
from cache.targets import TargetStore, open_targets
from pipeline.errors import UserError, one_line
from pipeline.outputs import keypoints
from pipeline.people.people import People
from pipeline.skeletons import Skeleton
from pipeline.spec import NetworkSpec, parse_spec
from pipeline.targets.quantise import dequantise, distribution
from stages.datasets import load_people
from stages.pointers import store_named
from stages.progress import progress
from stages.teachers import teach_command

QUANTILES = (0.05, 0.5, 0.95)
NEAR = 0.1
"""Longer box sides within which a keypoint is where another one is: PCK's threshold."""
TOGETHER = 0.05
"""Longer box sides within which two teachers that contradict a label agree on where else."""
NAMED = 10
"""People named in the table; `--json` has all of them."""

HALVES = 0x3C00 + 1
"""Distinct float16 values from 0 to 1: as unsigned numbers, their bits are in the order of the values."""


@dataclass(frozen=True)
class OfKeypoint:
    """One keypoint of a teacher; distances are shares of the longer box side, in view 0. NaN where nothing is known."""

    keypoint: str
    confidence: float
    """Mean over people in use and views."""
    quantiles: tuple[float, ...]
    """Of the confidence, at QUANTILES."""
    labelled: int
    """People in use who have a label for it."""
    pck: float
    """Share of these within NEAR of the label."""
    error: float
    """Mean distance from the label."""


@dataclass(frozen=True)
class Shared:
    """A keypoint that two teachers know, all people in use."""

    keypoint: str
    near: float
    """Share of people on whom both are within NEAR of each other."""
    distance: float
    """Mean between the two."""
    contradicted: int
    """Labels that both are further than NEAR from, and within TOGETHER of each other."""


@dataclass(frozen=True)
class Against:
    """Another teacher's store of the same people."""

    teacher: str
    keypoints: list[Shared]
    people: list[int]
    """Ids of those with a contradicted label, in the table's order."""


@dataclass(frozen=True)
class Statistics:
    """Of one store."""

    store: str
    people: int
    """In use."""
    views: int
    keypoints: list[OfKeypoint]
    others: list[Against]


def run(path: Path | str, as_json: bool = False, say: Callable[[str], None] = print) -> None:
    """Print the statistics of a store as a table, or as JSON; UserError where it is not complete or not of this project's people."""
    found = statistics(path)
    if as_json:
        say(json.dumps(_plain(dataclasses.asdict(found)), indent=1))
        return
    for line in _table(found):
        say(line)


def statistics(name: Path | str) -> Statistics:
    """Of the store, named by its path or address, and of those that other teachers have of the same split beside it."""
    path = store_named(name, "pipeline teach --teacher NAME")
    people = _people_of(path)
    store = _open(path, people)
    others = {each.parent.name: _open(each, people) for each in _beside(path) if place_of(each).has(NAME)}
    stores = [store, *others.values()]
    with progress(sum(each.layout.boundaries for each in stores), f"reading {path}", "boundaries") as bar:
        asked = _asked(store, others, people, partial(bar.update, 1))
        try:
            (answer,) = dask.compute(asked, scheduler="threads")
        except UNREADABLE as error:
            raise UserError(
                f"{path}, or a store beside it, cannot be read ({one_line(error)}): run `pipeline cache verify`"
            ) from error
    return _told(path, store, people, answer)


def _beside(path: Path | Remote) -> Sequence[Path | Remote]:
    """What other teachers have, finished or not, under the same name."""
    if isinstance(path, Remote):
        teachers = path.parent.parent.folders()
        return [path.parent.parent.below(each).below(path.name) for each in teachers if each != path.parent.name]
    own = path.absolute()
    return [each for each in sorted(own.parent.parent.glob(f"*/{own.name}")) if each.parent.name != own.parent.name]


def _people_of(path: Path | Remote) -> People:
    dataset, dash, split = path.name.removesuffix(".zarr").rpartition("-")
    if not dash or not path.name.endswith(".zarr"):
        raise UserError(f"{path}: expected a store like data/targets/TEACHER/DATASET-SPLIT.zarr")
    if not place_of(path).exists():
        raise UserError(f"{path}: no such target store: run `pipeline teach --teacher {path.parent.name}`")
    return load_people(dataset, split)


def _open(path: Path | Remote, people: People) -> TargetStore:
    teacher = (path.absolute() if isinstance(path, Path) else path).parent.name
    return open_targets(path, teach_command(teacher), people.person)


def _spec_of(store: TargetStore) -> NetworkSpec:
    return parse_spec(store.fingerprint["spec"], f"{store.path}: spec")


def _asked(
    store: TargetStore, others: dict[str, TargetStore], people: People, advance: Callable[[], object]
) -> dict[str, object]:
    """Dask's plan: small arrays of sums per keypoint, and per other teacher the people with a contradicted label."""
    rows = store.layout.boundary
    skeleton = _spec_of(store).skeleton
    use = da.from_array(people.use, chunks=rows)
    side = da.from_array(people.box[:, 2:].max(axis=1).clip(1e-9), chunks=rows)
    label, labelled = _labels(people, skeleton)
    labelled = da.from_array(labelled & people.use[:, None], chunks=(rows, -1))
    points = _points(store, advance)
    error = _distance(points, da.from_array(label, chunks=(rows, -1, -1)), side)
    known = labelled & ~da.isnan(error)
    asked: dict[str, object] = {
        "levels": _levels_of_confidence(store, use),
        "labelled": labelled.sum(axis=0),
        "near": (known & (error <= NEAR)).sum(axis=0),
        "known": known.sum(axis=0),
        "error": da.where(known, error, 0).sum(axis=0),
    }
    for name, other in others.items():
        theirs = _spec_of(other).skeleton
        shared = [k for k, keypoint in enumerate(skeleton.keypoints) if keypoint in theirs.keypoints]
        positions = [theirs.index(skeleton.keypoints[k]) for k in shared]
        of_other = _points(other, advance)[:, positions].rechunk((rows, -1, -1))
        apart = _distance(points[:, shared], of_other, side)
        both = use[:, None] & ~da.isnan(apart)
        error_of_other = _distance(of_other, da.from_array(label[:, shared], chunks=(rows, -1, -1)), side)
        contradicted = (
            labelled[:, shared] & both & (error[:, shared] > NEAR) & (error_of_other > NEAR) & (apart <= TOGETHER)
        )
        asked[f"against {name}"] = {
            "keypoints": [skeleton.keypoints[k] for k in shared],
            "both": both.sum(axis=0),
            "near": (both & (apart <= NEAR)).sum(axis=0),
            "distance": da.where(both, apart, 0).sum(axis=0),
            "contradicted": contradicted.sum(axis=0),
            "people": contradicted.any(axis=1),
        }
    return asked


def _labels(people: People, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """The truth in a skeleton's order: points (N, K, 2) in image pixels, and whether they are known (N, K)."""
    arranged = partial(skeleton.arranged, other=people.skeleton)
    return arranged(people.keypoints), arranged(people.labelled)


def _points(store: TargetStore, advance: Callable[[], object]) -> da.Array:
    """Keypoints (N, K, 2) in image pixels, decoded from view 0, a boundary at a time."""
    spec, rows = _spec_of(store), store.layout.boundary

    def decoded(*arrays: np.ndarray) -> np.ndarray:
        *levels, peak, affines = arrays
        maps = tuple(map(distribution, levels)) if len(levels) == 2 else (dequantise(levels[0], peak),)
        advance()
        return keypoints(maps, affines, spec)

    names = list(store.layout.targets)
    plain = [_view_0(store, name, rows) for name in (*names, "peak", "image_from_target")]
    axes = ["nkhw"] if names == ["heatmaps"] else ["nkx", "nky"]
    pairs = [each for pair in zip(plain, (*axes, "nk", "nij"), strict=True) for each in pair]
    return da.blockwise(
        decoded,
        "nkc",
        *pairs,
        new_axes={"c": 2},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0, 0, 0)),
        name=f"points {store.path}",
    )


def _view_0(store: TargetStore, name: str, rows: int) -> da.Array:
    array = _array(store, name)
    return da.from_array(array, chunks=(rows, 1, *array.shape[2:]), name=f"{name} {store.path}")[:, 0]


def _array(store: TargetStore, name: str) -> zarr.Array:
    array = store.store.group[name]
    assert isinstance(array, zarr.Array)
    return array


def _levels_of_confidence(store: TargetStore, use: da.Array) -> da.Array:
    """Int (K, HALVES): how often each float16 is a confidence, over people in use and views."""
    rows, scores = store.layout.boundary, _array(store, "score")
    count = store.layout.keypoints

    def counted(score: np.ndarray, used: np.ndarray) -> np.ndarray:
        bits = score[used.reshape(-1)].view(np.uint16).reshape(-1, count).clip(0, HALVES - 1)
        return np.stack([np.bincount(column, minlength=HALVES) for column in bits.T])[None]

    array = da.from_array(scores, chunks=(rows, *scores.shape[1:]), name=f"score {store.path}")
    counts = da.map_blocks(
        counted,
        array,
        use[:, None, None],
        chunks=(1, count, HALVES),
        dtype=np.int64,
        meta=np.empty((0, 0, 0), np.int64),
    )
    return counts.sum(axis=0)


def _distance(one: da.Array, other: da.Array, side: da.Array) -> da.Array:
    """Between points (N, K, 2), in longer box sides; NaN where one is missing."""
    return da.sqrt(((one - other) ** 2).sum(axis=2)) / side[:, None]


def _told(path: Path | Remote, store: TargetStore, people: People, answer: dict) -> Statistics:
    """The sums as shares and means."""
    of_keypoint = []
    for k, keypoint in enumerate(_spec_of(store).skeleton.keypoints):
        mean, quantiles = _of_levels(answer["levels"][k])
        labelled, known = int(answer["labelled"][k]), int(answer["known"][k])
        pck, error = _share(answer["near"][k], labelled), _share(answer["error"][k], known)
        of_keypoint.append(OfKeypoint(keypoint, mean, quantiles, labelled, pck, error))
    others = [_against(name.removeprefix("against "), each, people) for name, each in answer.items() if " " in name]
    return Statistics(str(path), int(people.use.sum()), store.layout.views, of_keypoint, others)


def _against(teacher: str, answer: dict, people: People) -> Against:
    shared = [
        Shared(
            keypoint,
            _share(answer["near"][k], answer["both"][k]),
            _share(answer["distance"][k], answer["both"][k]),
            int(answer["contradicted"][k]),
        )
        for k, keypoint in enumerate(answer["keypoints"])
    ]
    return Against(teacher, shared, people.person[answer["people"]].tolist())


def _of_levels(counts: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Mean and QUANTILES (the lowest value that such a share does not exceed) of float16 values that occur so often."""
    values = np.arange(HALVES, dtype=np.uint16).view(np.float16).astype(np.float64)
    total = int(counts.sum())
    if not total:
        return math.nan, (math.nan,) * len(QUANTILES)
    at = np.searchsorted(counts.cumsum(), np.array(QUANTILES) * total)
    return float(counts @ values / total), tuple(values[at].tolist())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _plain(value: object) -> object:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(found: Statistics) -> list[str]:
    names = [each.keypoint for each in found.keypoints]
    width = max(map(len, names))
    quantiles = " ".join(f"{f'{100 * share:.0f} %':>6}" for share in QUANTILES)
    lines = [
        f"{found.store}: {found.people} people in use, {found.views} views",
        "confidence in all views; view 0 against the label, distances in longer box sides",
        f"  {'keypoint':<{width}}   mean {quantiles}  labels  PCK@{NEAR}  error",
    ]
    for each in found.keypoints:
        shares = " ".join(f"{value:6.3f}" for value in each.quantiles)
        lines.append(
            f"  {each.keypoint:<{width}} {each.confidence:6.3f} {shares} {each.labelled:7} {_number(each.pck, 8)} {_number(each.error, 6)}"
        )
    for other in found.others:
        lines.append(f"against teacher {other.teacher}, view 0")
        lines.append(f"  {'keypoint':<{width}} within {NEAR}  distance  labels both contradict")
        for one in other.keypoints:
            near, distance = _number(one.near, 10), _number(one.distance, 9)
            lines.append(f"  {one.keypoint:<{width}} {near} {distance} {one.contradicted:7}")
        first = ", ".join(map(str, other.people[:NAMED]))
        more = ", ..." if len(other.people) > NAMED else ""
        lines.append(f"  both contradict a label of {len(other.people)} people{': ' if first else ''}{first}{more}")
    return lines


def _number(value: float, width: int) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.3f}':>{width}}"
