"""The store of targets: writing, reading in a training's shuffled order on one core, size, and the loss of accuracy.

    python -m benchmarks.store
    python -m benchmarks.store --real FOLDER

- Maps of 17 x 64 x 48: clean Gaussians, and noisy ones with second peaks. With `--real`, also the maps of a real teacher; the folder has
  `coco/images`, `coco/person_keypoints.json` and `models/simplepose_coco17_256x192.onnx`.
- Bytes per person and view, compared with float32, and with 255 even levels with a dead zone of 2 %. Keypoints decoded from the stored
  maps, compared with those from raw maps, without ties: where two neighbours of the peak, or the peak and another pixel, differ by less
  than a level.
- Reading by `TargetStore.read` and in batches as `distill` does, compared with the bare codec on the same bytes in memory, with Zarr on
  the same chunks, and with Zarr on chunks of 16 people.

All timed code runs on one core in one process. Writes JSON and a plot to results/benchmarks.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import cv2
import matplotlib.pyplot as plt
import numpy as np
from numcodecs.zstd import Zstd

from benchmarks.machine import RESULTS, machine, write
from cache.layout import ZSTD_LEVEL
from cache.targets import PEOPLE_PER_CHUNK, TargetLayout, TargetStore, compressed_bytes, open_targets
from cache.writer import finish, open_for_writing, write_shard
from pipeline.datasets.coco import read_coco
from pipeline.inference.session import open_teacher
from pipeline.metrics.coco_ap import keypoint_ap
from pipeline.people.images import read_image
from pipeline.people.people import People
from pipeline.people.poses import poses_of
from pipeline.people.views import PLAIN, Views, draw_views
from pipeline.pose.crops import crop
from pipeline.pose.decode import decode_heatmaps
from pipeline.pose.outputs import decode_keypoints, maps_and_scores
from pipeline.pose.skeletons import COCO17
from pipeline.pose.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import LEVELS, quantise
from stages.training.loader import CropJitter, Loader, TrainingSource

KEYPOINTS, HEIGHT, WIDTH = 17, 64, 48
PEOPLE, VIEWS = 1024, 4
BATCH = 64
OLD_CHUNK = 16
FLOAT32 = KEYPOINTS * HEIGHT * WIDTH * 4
LIMITS = {"clean": 80, "noisy": 30, "real": 30}
"""Smallest ratio of float32 to stored bytes, by kind of maps."""
DECODINGS: dict[str, tuple[Any, int]] = {"quarter pixels": ("quarter", 0), "DARK": ("newton", 11)}


@dataclass(frozen=True)
class Truth:
    """What a teacher's maps are scored with: view 0 of the people in use."""

    people: People
    """All annotated people."""
    image_from_target: np.ndarray
    spec: NetworkSpec

    def ap(self, maps: np.ndarray) -> float:
        """Return COCO's AP, 0 to 100, of maps (P, V, K, H, W)."""
        points = decode_keypoints((maps[:, 0],), self.image_from_target, self.spec)
        score = maps[:, 0].max(axis=(2, 3)).clip(0, 1).astype(np.float64)
        poses = poses_of(self.people.rows(self.people.use), self.spec.skeleton, points, score)
        return 100 * keypoint_ap(self.people, poses)["AP"]


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of a real teacher and its images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.store", *sys.argv[1:]]),
        "maps": f"{KEYPOINTS} x {HEIGHT} x {WIDTH}, float32 {FLOAT32 / 1000:.0f} kB",
        "people": PEOPLE,
        "views": VIEWS,
    }
    maps: dict[str, np.ndarray] = {"clean": _drawn(0.0), "noisy": _drawn(0.04)}
    truth: dict[str, Truth] = {}
    if options.real:
        maps["real"], truth["real"] = _taught(options.real)
    with one_core():
        result["teachers"] = {
            name: {"bytes and errors": _bytes(raw, truth.get(name), LIMITS[name]), **_speeds(raw, options.rounds)}
            for name, raw in maps.items()
        }
    print(write("store", result, options.out))
    print(_plot(result["teachers"], options.out / "store.png"))
    print(json.dumps(result, indent=1))


@contextmanager
def one_core() -> Iterator[None]:
    """Run on one core inside the context, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _drawn(noise: float, people: int = 128, sigma: float = 2.0) -> np.ndarray:
    """Return Gaussians (P, V, K, H, W); with `noise`, also a lower second peak in each, and blurred noise everywhere."""
    random = np.random.default_rng(0)
    head = (people, VIEWS, KEYPOINTS)

    def bumps() -> np.ndarray:
        x, y = random.uniform(2, WIDTH - 3, (*head, 1)), random.uniform(2, HEIGHT - 3, (*head, 1))
        across, down = (np.exp(-(((np.arange(size) - at) / sigma) ** 2) / 2) for size, at in ((WIDTH, x), (HEIGHT, y)))
        return (down[..., :, None] * across[..., None, :]).astype(np.float32)

    maps = bumps()
    if not noise:
        return maps
    maps += random.uniform(0, 0.6, (*head, 1, 1)).astype(np.float32) * bumps()
    for each in maps.reshape(-1, HEIGHT, WIDTH):
        blurred = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigma)
        each += noise * blurred / blurred.std() * random.uniform(0, 1)
    return maps.clip(0)


def _taught(folder: Path) -> tuple[np.ndarray, Truth]:
    """Return maps (P, V, K, H, W) of a real teacher, and the truth to score them with."""
    everyone = read_coco(folder / "coco/person_keypoints.json")
    people = everyone.rows(everyone.use)
    views = draw_views(people, VIEWS, seed=0)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    spec = NetworkSpec(COCO17, (192, 256), "rgb", mean, std, 1.25, "classic", "heatmap")
    forward = open_teacher("real", folder / "models/simplepose_coco17_256x192.onnx", spec, "cpu", 1).forward()
    maps = []
    for row, name in enumerate(people.image.tolist()):
        image = read_image(folder / "coco/images" / name, people.image_wh[row])
        crops = crop(image, spec.input_from_image(views.regions(row, slice(None))), spec.input_wh)
        maps.append(maps_and_scores(forward(crops), spec)[0][0])
    affines = spec.image_from_target(views.regions(slice(None), 0), (WIDTH, HEIGHT))
    return np.stack(maps), Truth(everyone, affines, spec)


def _bytes(raw: np.ndarray, truth: Truth | None, limit: int) -> dict[str, Any]:
    """Return size and errors of the stored levels, and of even levels with a dead zone of 2 %."""
    relative = raw / raw.max(axis=(-2, -1), keepdims=True).clip(1e-12)
    even = np.where(relative < 0.02, 0, np.rint(LEVELS * relative)).astype(np.uint8)
    clear = ~_tied(relative)
    peak = raw.max(axis=(-2, -1), keepdims=True)
    result: dict[str, Any] = {"target": limit, "ties": round(1 - float(clear.mean()), 3)}
    if truth:
        result["AP of the raw maps"] = round(truth.ap(raw), 2)
    for name, levels in (("stored", quantise(raw)[0]), ("even levels", even)):
        size = _size(levels)
        result[name] = {
            "bytes per person and view": round(size),
            "float32 over that": round(FLOAT32 / size, 1),
            "KL divergence": round(_divergence(levels, relative, 1), 4),
            "KL divergence, maps squared": round(_divergence(levels, relative, 2), 5),
            **{f"error in pixels, {way}": _errors(levels, relative, clear, *how) for way, how in DECODINGS.items()},
        }
        if truth:
            result[name]["AP"] = round(truth.ap(levels / LEVELS * peak.astype(np.float16)), 2)
    return result


def _size(levels: np.ndarray) -> float:
    """Return the compressed bytes per person and view."""
    chunks = [levels[start : start + PEOPLE_PER_CHUNK] for start in range(0, len(levels), PEOPLE_PER_CHUNK)]
    return sum(compressed_bytes({"heatmaps": chunk}) for chunk in chunks) / (len(levels) * levels.shape[1])


def _tied(relative: np.ndarray) -> np.ndarray:
    """Return whether less than a level decides the largest pixel, or its larger neighbour: bool (P, V, K)."""
    maps = relative.reshape(-1, HEIGHT, WIDTH)
    flat = maps.reshape(len(maps), -1)
    rows, (y, x) = np.arange(len(maps)), np.divmod(flat.argmax(axis=1), WIDTH)
    tied = np.partition(flat, -2, axis=1)[:, -2] > 1 - 1 / LEVELS
    inside = (x > 0) & (x < WIDTH - 1) & (y > 0) & (y < HEIGHT - 1)
    rows, y, x = rows[inside], y[inside], x[inside]
    across = np.abs(maps[rows, y, x + 1] - maps[rows, y, x - 1])
    down = np.abs(maps[rows, y + 1, x] - maps[rows, y - 1, x])
    tied[inside] |= np.minimum(across, down) < 1 / LEVELS
    return tied.reshape(relative.shape[:3])


def _errors(levels: np.ndarray, relative: np.ndarray, clear: np.ndarray, way: Any, blur: int) -> list[float]:
    """Return the median, the 99th percentile and the largest error per axis, in pixels, of keypoints without ties."""
    stored, raw = (decode_heatmaps(maps, way, blur)[0] for maps in (levels / np.float32(LEVELS), relative))
    away = np.abs(stored - raw).max(axis=-1)[clear]
    return [round(float(value), 3) for value in (*np.percentile(away, (50, 99)), away.max())]


def _divergence(levels: np.ndarray, relative: np.ndarray, power: int) -> float:
    """Return the KL divergence of the stored from the raw distribution in nats, the mean over keypoints."""

    def distribution(maps: np.ndarray) -> np.ndarray:
        flat = maps.reshape(-1, HEIGHT * WIDTH).astype(np.float64) ** power
        total: np.ndarray = flat / flat.sum(axis=1, keepdims=True)
        return total

    stored, raw = distribution(levels), distribution(relative)
    kept = stored > 0
    return float((stored[kept] * np.log(stored[kept] / raw[kept].clip(1e-30))).sum() / len(stored))


def _speeds(raw: np.ndarray, rounds: int) -> dict[str, Any]:
    """Return people and views per core-second of each way to read, and relative to the bare codec in the same round."""
    levels = quantise(raw)[0]
    levels = np.tile(levels, (-(-PEOPLE // len(levels)), 1, 1, 1, 1))[:PEOPLE]
    with tempfile.TemporaryDirectory() as folder:
        writing = _rate(lambda: _write_store(Path(folder) / "new", levels, PEOPLE_PER_CHUNK))
        quantising = _rate(lambda: _each(quantise, raw), len(raw) * VIEWS)
        store = open_targets(Path(folder) / "new", "nothing")
        _write_store(Path(folder) / "old", levels, OLD_CHUNK)
        old = open_targets(Path(folder) / "old", "nothing")
        codec = Zstd(level=ZSTD_LEVEL)
        packed = [codec.encode(np.ascontiguousarray(levels[rows, view])) for rows, view in _chunks(PEOPLE_PER_CHUNK)]
        loader = _loader(store)
        epochs = itertools.count()
        for _ in range(VIEWS):  # every view is read once, and the cache fills
            _epoch(loader, next(epochs))
        decoded = bytearray(PEOPLE_PER_CHUNK * FLOAT32 // 4)
        ways: dict[str, tuple[Callable[[], None], int]] = {
            "codec alone": (lambda: _each(lambda data: codec.decode(data, decoded), packed), PEOPLE * VIEWS),
            "store": (lambda: _each(lambda at: store.read(*at), _chunks(PEOPLE_PER_CHUNK)), PEOPLE * VIEWS),
            "store, people shuffled": (lambda: _epoch(loader, next(epochs)), PEOPLE),
            "Zarr": (lambda: _each(lambda at: _through_zarr(store, *at), _chunks(PEOPLE_PER_CHUNK)), PEOPLE * VIEWS),
            f"Zarr, chunks of {OLD_CHUNK}": (
                lambda: _each(lambda at: _through_zarr(old, *at), _chunks(OLD_CHUNK)),
                PEOPLE * VIEWS,
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (way, count) in ways.items():
                rates[name].append(_rate(way, count))
    alone = rates["codec alone"]
    return {
        "writing, people and views a core-second": round(writing),
        "quantising, people and views a core-second": round(quantising),
        "reading, people and views a core-second": {
            name: {
                "median": round(statistics.median(each)),
                "over the codec alone": round(statistics.median(e / a for e, a in zip(each, alone, strict=True)), 2),
            }
            for name, each in rates.items()
        },
    }


def _each(function: Callable[[Any], object], arguments: Iterable[Any]) -> None:
    for argument in arguments:
        function(argument)


def _rate(way: Callable[[], object], count: int = PEOPLE * VIEWS) -> float:
    start = time.process_time()
    way()
    return count / (time.process_time() - start)


def _write_store(path: Path, levels: np.ndarray, chunk: int) -> None:
    layout = TargetLayout(PEOPLE, VIEWS, KEYPOINTS, HEIGHT, WIDTH, chunk=chunk)
    open_for_writing(path, layout, layout.fingerprint({}))
    for shard in range(layout.shards):
        rows = layout.rows(shard)
        small = np.ones((rows.stop - rows.start, VIEWS, KEYPOINTS), np.float16)
        block = TargetBlock(
            np.arange(PEOPLE)[rows], {"heatmaps": levels[rows]}, small, small, np.zeros((len(small), VIEWS, 2, 3))
        )
        write_shard(path, layout, shard, block.arrays)
    finish(path, layout, layout.fingerprint({}))


def _chunks(people: int) -> list[tuple[slice, int]]:
    """Return every chunk of every view, in one shuffled order."""
    every = [(slice(start, start + people), view) for start in range(0, PEOPLE, people) for view in range(VIEWS)]
    return [every[n] for n in np.random.default_rng(0).permutation(len(every))]


def _through_zarr(store: TargetStore, rows: slice, view: int) -> np.ndarray:
    return store.store.values("heatmaps", (rows, slice(view, view + 1)))


def _loader(store: TargetStore) -> Loader:
    """Return a loader of people without labels, all in use."""
    nothing, names = np.zeros((PEOPLE, 4)), np.array(["none.jpg"] * PEOPLE, dtype=object)
    some = np.arange(PEOPLE)
    points = np.zeros((PEOPLE, KEYPOINTS, 2))
    sizes = np.ones((PEOPLE, 2), np.int32)
    used, labelled = np.ones(PEOPLE, bool), np.zeros((PEOPLE, KEYPOINTS), bool)
    people = People(COCO17, some, names, some, sizes, nothing, some + 1.0, ~used, used, points, labelled, nothing)
    middle = np.zeros((PEOPLE, VIEWS, 2))
    views = Views(some, (PLAIN,) * VIEWS, middle, middle + 1, middle[..., 0])
    spec = NetworkSpec(COCO17, (192, 256), "rgb", (0.0,) * 3, (1.0,) * 3, 1.25, "udp", "heatmap")
    still = CropJitter(fresh_rotation=None, weak_from=10**9, scale=0.0, shift=0.0, flip=0.0)
    return Loader([TrainingSource("store", Path(), people, views, {"store": store})], spec, BATCH, still, 0, 1e6)


def _epoch(loader: Loader, epoch: int) -> None:
    """Read the targets of an epoch by batches. Its chunks were last read VIEWS epochs ago, so they are not in the cache."""
    for entries in loader._order(epoch, (PLAIN,) * VIEWS).reshape(-1, BATCH, 3):
        loader._stored_targets("store", entries)


def _plot(teachers: dict[str, Any], path: Path) -> Path:
    """Plot bytes compared with float32, and people per core-second of each way to read."""
    figure, (sizes, speeds) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", width_ratios=(1, 2))
    for number, (name, each) in enumerate(teachers.items()):
        measured = each["bytes and errors"]
        for shift, way, colour in ((-0.2, "even levels", "tab:gray"), (0.2, "stored", "tab:blue")):
            kilobytes = measured[way]["bytes per person and view"] / 1000
            bar = sizes.bar(number + shift, kilobytes, 0.38, color=colour, label=way if not number else None)
            sizes.bar_label(bar, [f"1/{measured[way]['float32 over that']:.0f}"], fontsize=8)
        limit = FLOAT32 / measured["target"] / 1000
        sizes.hlines(limit, number - 0.4, number + 0.4, "black", "dashed", label=None if number else "at most")
        rates = each["reading, people and views a core-second"]
        place = np.arange(len(rates)) + 0.8 * (number + 0.5) / len(teachers) - 0.4
        speeds.bar(place, [rate["median"] for rate in rates.values()], 0.75 / len(teachers), label=name)
        speeds.set_xticks(range(len(rates)), [way.replace(", ", ",\n") for way in rates], fontsize=8)
    sizes.set_xticks(range(len(teachers)), list(teachers))
    sizes.set_title("kB per person and view (1/n of float32)")
    sizes.legend(fontsize=8)
    speeds.axhline(20_000, color="black", linestyle="dashed", label="at least, shuffled")
    speeds.set_title("people in one view read per core-second")
    speeds.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
