"""`pipeline cache stats`: a teacher's keypoints in a whole store, compared with labels and with other teachers, out of core."""

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

from cache.backend import backend_of
from cache.manifest import MANIFEST_NAME
from cache.reader import UNREADABLE
from cache.remote import Remote
from cache.targets import TargetStore, open_targets
from pipeline.common.errors import UserError, one_line
from pipeline.common.progress import progress
from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton
from stages.project.datasets import load_people
from stages.project.teachers import teach_command
from stages.stores.decode import decode_rows
from stages.stores.pointers import store_named
from stages.stores.stored_spec import stored_spec

QUANTILES = (0.05, 0.5, 0.95)
SAME_PLACE = 0.1
"""Distance in longer box sides within which two keypoints are at the same place: the threshold of PCK."""
AGREEMENT = 0.05
"""Distance in longer box sides within which two teachers that contradict a label agree with each other."""
LISTED_PEOPLE = 10
"""People whose ids the table lists; `--json` lists all of them."""

FLOAT16_VALUES = 0x3C00 + 1
"""Number of float16 values from 0 to 1. Their bits, as unsigned integers, are in the order of the values."""


@dataclass(frozen=True)
class KeypointStatistics:
    """Statistics of one keypoint. Distances are in longer box sides, in view 0; NaN without data."""

    keypoint: str
    confidence: float
    """Mean over people in use and views."""
    quantiles: tuple[float, ...]
    """Quantiles of the confidence, at QUANTILES."""
    labelled: int
    """Number of people in use with a label."""
    pck: float
    """Share of these people whose keypoint is within SAME_PLACE of the label."""
    error: float
    """Mean distance from the label."""


@dataclass(frozen=True)
class SharedKeypoint:
    """A keypoint of two teachers, compared on all people in use."""

    keypoint: str
    near: float
    """Share of people on whom the two are within SAME_PLACE of each other."""
    distance: float
    """Mean distance between the two."""
    contradicted: int
    """Number of labels that both are further than SAME_PLACE from, while within AGREEMENT of each other."""


@dataclass(frozen=True)
class TeacherComparison:
    """A comparison with another teacher's store of the same people."""

    teacher: str
    keypoints: list[SharedKeypoint]
    people: list[int]
    """Ids of the people with a contradicted label, in the table's order."""


@dataclass(frozen=True)
class StoreStatistics:
    """Statistics of one store."""

    store: str
    people: int
    """Number of people in use."""
    views: int
    keypoints: list[KeypointStatistics]
    others: list[TeacherComparison]


def run(path: Path | str, as_json: bool = False, log: Callable[[str], None] = print) -> None:
    """Print the statistics of a store as a table or as JSON; UserError if it is incomplete or not of this project's people."""
    result = store_statistics(path)
    if as_json:
        log(json.dumps(_plain(dataclasses.asdict(result)), indent=1))
        return
    for line in _table(result):
        log(line)


def store_statistics(name: Path | str) -> StoreStatistics:
    """Return the statistics of a store, given by its path or address, compared with other teachers' stores of the split."""
    path = store_named(name, "pipeline teach --teacher NAME")
    people = _people_of(path)
    store = _open(path, people)
    others = {
        other.parent.name: _open(other, people) for other in _other_stores(path) if backend_of(other).has(MANIFEST_NAME)
    }
    shards = sum(each.layout.shards for each in (store, *others.values()))
    with progress(shards, f"reading {path}", "shards") as bar:
        sums = _sums(store, others, people, partial(bar.update, 1))
        try:
            (computed,) = dask.compute(sums, scheduler="threads")
        except UNREADABLE as error:
            raise UserError(
                f"{path}, or a store beside it, cannot be read ({one_line(error)}): run `pipeline cache verify`"
            ) from error
    return _as_statistics(path, store, people, computed)


def _other_stores(path: Path | Remote) -> Sequence[Path | Remote]:
    """Return the other teachers' stores of the same name, finished or not."""
    if isinstance(path, Remote):
        root = path.parent.parent
        return [root.child(teacher).child(path.name) for teacher in root.folders() if teacher != path.parent.name]
    own = path.absolute()
    stores = sorted(own.parent.parent.glob(f"*/{own.name}"))
    return [store for store in stores if store.parent.name != own.parent.name]


def _people_of(path: Path | Remote) -> People:
    dataset, dash, split = path.name.removesuffix(".zarr").rpartition("-")
    if not dash or not path.name.endswith(".zarr"):
        raise UserError(f"{path}: expected a store like data/targets/TEACHER/DATASET-SPLIT.zarr")
    if not backend_of(path).exists():
        raise UserError(f"{path}: no such target store: run `pipeline teach --teacher {path.parent.name}`")
    return load_people(dataset, split)


def _open(path: Path | Remote, people: People) -> TargetStore:
    teacher = (path.absolute() if isinstance(path, Path) else path).parent.name
    return open_targets(path, teach_command(teacher), people.person)


def _sums(
    store: TargetStore, others: dict[str, TargetStore], people: People, advance: Callable[[], object]
) -> dict[str, object]:
    """Return Dask's plan of sums per keypoint and, for each other teacher, of the people with a contradicted label."""
    rows = store.layout.people_per_shard
    skeleton = stored_spec(store).skeleton
    use = da.from_array(people.use, chunks=rows)
    side = da.from_array(people.box[:, 2:].max(axis=1).clip(1e-9), chunks=rows)
    label, labelled = _labels(people, skeleton)
    labelled = da.from_array(labelled & people.use[:, None], chunks=(rows, -1))
    points = _points(store, advance)
    error = _distance(points, da.from_array(label, chunks=(rows, -1, -1)), side)
    known = labelled & ~da.isnan(error)
    sums: dict[str, object] = {
        "levels": _confidence_counts(store, use),
        "labelled": labelled.sum(axis=0),
        "near": (known & (error <= SAME_PLACE)).sum(axis=0),
        "known": known.sum(axis=0),
        "error": da.where(known, error, 0).sum(axis=0),
    }
    for name, other in others.items():
        other_skeleton = stored_spec(other).skeleton
        shared = [k for k, keypoint in enumerate(skeleton.keypoints) if keypoint in other_skeleton.keypoints]
        positions = [other_skeleton.index(skeleton.keypoints[k]) for k in shared]
        of_other = _points(other, advance)[:, positions].rechunk((rows, -1, -1))
        apart = _distance(points[:, shared], of_other, side)
        both = use[:, None] & ~da.isnan(apart)
        error_of_other = _distance(of_other, da.from_array(label[:, shared], chunks=(rows, -1, -1)), side)
        both_wrong = (error[:, shared] > SAME_PLACE) & (error_of_other > SAME_PLACE)
        contradicted = labelled[:, shared] & both & both_wrong & (apart <= AGREEMENT)
        sums[f"against {name}"] = {
            "keypoints": [skeleton.keypoints[k] for k in shared],
            "both": both.sum(axis=0),
            "near": (both & (apart <= SAME_PLACE)).sum(axis=0),
            "distance": da.where(both, apart, 0).sum(axis=0),
            "contradicted": contradicted.sum(axis=0),
            "people": contradicted.any(axis=1),
        }
    return sums


def _labels(people: People, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in a skeleton's order: points (N, K, 2) in image pixels, and whether they are known (N, K)."""
    arranged = partial(skeleton.arranged, other=people.skeleton)
    return arranged(people.keypoints), arranged(people.labelled)


def _points(store: TargetStore, advance: Callable[[], object]) -> da.Array:
    """Return keypoints (N, K, 2) in image pixels, decoded from view 0, one shard at a time."""
    spec, layout = stored_spec(store), store.layout

    def decoded(shard: np.ndarray) -> np.ndarray:
        points, _ = decode_rows(store, spec, layout.rows(int(shard[0])))
        advance()
        return points

    slices = [layout.rows(shard) for shard in range(layout.shards)]
    return da.map_blocks(
        decoded,
        da.from_array(np.arange(layout.shards), chunks=1),
        new_axis=(1, 2),
        chunks=(tuple(rows.stop - rows.start for rows in slices), (layout.keypoints,), (2,)),
        dtype=np.float64,
        meta=np.empty((0, 0, 0)),
        name=f"points {store.path}",
    )


def _confidence_counts(store: TargetStore, use: da.Array) -> da.Array:
    """Return how often each float16 value is a confidence, over people in use and views: int (K, FLOAT16_VALUES)."""
    rows, scores = store.layout.people_per_shard, store.store.array("score")
    count = store.layout.keypoints

    def counted(score: np.ndarray, used: np.ndarray) -> np.ndarray:
        bits = score[used.reshape(-1)].view(np.uint16).reshape(-1, count).clip(0, FLOAT16_VALUES - 1)
        return np.stack([np.bincount(column, minlength=FLOAT16_VALUES) for column in bits.T])[None]

    array = da.from_array(scores, chunks=(rows, *scores.shape[1:]), name=f"score {store.path}")
    counts = da.map_blocks(
        counted,
        array,
        use[:, None, None],
        chunks=(1, count, FLOAT16_VALUES),
        dtype=np.int64,
        meta=np.empty((0, 0, 0), np.int64),
    )
    return counts.sum(axis=0)


def _distance(one: da.Array, other: da.Array, side: da.Array) -> da.Array:
    """Return distances between points (N, K, 2) in longer box sides; NaN if one is missing."""
    return da.sqrt(((one - other) ** 2).sum(axis=2)) / side[:, None]


def _as_statistics(path: Path | Remote, store: TargetStore, people: People, sums: dict) -> StoreStatistics:
    """Turn the sums into shares and means."""
    of_keypoint = []
    for k, keypoint in enumerate(stored_spec(store).skeleton.keypoints):
        mean, quantiles = _mean_and_quantiles(sums["levels"][k])
        labelled, known = int(sums["labelled"][k]), int(sums["known"][k])
        pck, error = _share(sums["near"][k], labelled), _share(sums["error"][k], known)
        of_keypoint.append(KeypointStatistics(keypoint, mean, quantiles, labelled, pck, error))
    others = [_comparison(name.removeprefix("against "), part, people) for name, part in sums.items() if " " in name]
    return StoreStatistics(str(path), int(people.use.sum()), store.layout.views, of_keypoint, others)


def _comparison(teacher: str, sums: dict, people: People) -> TeacherComparison:
    shared = [
        SharedKeypoint(
            keypoint,
            _share(sums["near"][k], sums["both"][k]),
            _share(sums["distance"][k], sums["both"][k]),
            int(sums["contradicted"][k]),
        )
        for k, keypoint in enumerate(sums["keypoints"])
    ]
    return TeacherComparison(teacher, shared, people.person[sums["people"]].tolist())


def _mean_and_quantiles(counts: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Return mean and QUANTILES of float16 values from the count of each. A quantile is the lowest value that its share reaches."""
    values = np.arange(FLOAT16_VALUES, dtype=np.uint16).view(np.float16).astype(np.float64)
    total = int(counts.sum())
    if not total:
        return math.nan, (math.nan,) * len(QUANTILES)
    at = np.searchsorted(counts.cumsum(), np.array(QUANTILES) * total)
    return float(counts @ values / total), tuple(values[at].tolist())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _plain(value: object) -> object:
    """Return the value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(result: StoreStatistics) -> list[str]:
    names = [each.keypoint for each in result.keypoints]
    width = max(map(len, names))
    quantiles = " ".join(f"{f'{100 * share:.0f} %':>6}" for share in QUANTILES)
    lines = [
        f"{result.store}: {result.people} people in use, {result.views} views",
        "confidence in all views; view 0 against the label, distances in longer box sides",
        f"  {'keypoint':<{width}}   mean {quantiles}  labels  PCK@{SAME_PLACE}  error",
    ]
    for each in result.keypoints:
        shares = " ".join(f"{value:6.3f}" for value in each.quantiles)
        lines.append(
            f"  {each.keypoint:<{width}} {each.confidence:6.3f} {shares} {each.labelled:7} {_number(each.pck, 8)} {_number(each.error, 6)}"
        )
    for other in result.others:
        lines.append(f"against teacher {other.teacher}, view 0")
        lines.append(f"  {'keypoint':<{width}} within {SAME_PLACE}  distance  labels both contradict")
        for one in other.keypoints:
            near, distance = _number(one.near, 10), _number(one.distance, 9)
            lines.append(f"  {one.keypoint:<{width}} {near} {distance} {one.contradicted:7}")
        first = ", ".join(map(str, other.people[:LISTED_PEOPLE]))
        more = ", ..." if len(other.people) > LISTED_PEOPLE else ""
        lines.append(f"  both contradict a label of {len(other.people)} people{': ' if first else ''}{first}{more}")
    return lines


def _number(value: float, width: int) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.3f}':>{width}}"
