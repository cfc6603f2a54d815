"""The cost of stores and tables of many people: metadata, opening, resuming, verifying, reading; and its extrapolation to 10 million.

    python -m benchmarks.scale
    python -m benchmarks.scale --people 10000 30000 100000 300000
    python -m benchmarks.scale --arithmetic --crops-per-second 4000

It runs the real code of tables, lock, writer, manifest, resume, reader and order of an epoch. Only the targets are simulated: a few hundred
of SimCC that look like a good network's. No teacher runs, and there are no images. Each figure is fitted with a line in the number of
people and extrapolated to 10 million; the largest error of the line is given too. Writes JSON and a plot to results/benchmarks.
`--arithmetic` measures nothing: it prints GPU hours, cores and bytes of whole datasets from given rates.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.answers import raw_answers
from benchmarks.drawn import empty_folder, spec_of
from benchmarks.machine import RESULTS, machine, write
from cache.fingerprint import array_digest
from cache.manifest import MANIFEST_NAME
from cache.reader import verify_store
from cache.targets import PEOPLE_PER_CHUNK, TargetLayout, open_targets
from cache.writer import finish, open_for_writing, write_shard
from pipeline.common.locks import exclusive
from pipeline.common.threads import cores
from pipeline.people.people import People
from pipeline.people.table import read_people, write_people
from pipeline.people.views import KINDS, Views, draw_views, read_views, write_views
from pipeline.pose.outputs import maps_and_scores
from pipeline.pose.skeletons import COCO17
from pipeline.pose.spec import ARRAYS
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BIN_AXES, quantise
from stages.training.loader import SHUFFLE_CHUNKS, TrainingSource, epoch_order

FAR = 10_000_000
"""People that figures are extrapolated to."""
READ = 20_000
"""People that are read in shuffled order."""

MAX_DISK_BYTES, CROP_BYTES = 8e9, 2500
"""Disk space that the benchmark may use, and the bytes of a crop that it assumes beforehand."""

PEOPLE, VIEWS, STORE = Path("people.parquet"), Path("views.parquet"), Path("store.zarr")
FINGERPRINT = {"teacher": "answers from memory"}
ROOT = Path(__file__).resolve().parent.parent

DATASETS = {"COCO + MPII": 172_000, "10 million people": FAR}
"""Labelled people by dataset."""
TEACHERS = 2
GPUS = (1, 8, 64)

Figures = dict[str, float]

COLOURS = [*plt.get_cmap("tab10").colors, "black"]  # type: ignore[attr-defined]


def main() -> None:
    """Parse options; measure and write the results, or print the arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--shard", type=int, nargs="+", default=[128, 4096], help="people per shard")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=("tables", "reading"), help=argparse.SUPPRESS)
    given = parser.add_argument_group("--arithmetic")
    given.add_argument("--arithmetic", action="store_true", help="print the table of whole datasets, from:")
    given.add_argument("--crops-per-second", type=float, default=4000, help="of one GPU; not measured")
    given.add_argument("--core-ms-per-crop", type=float, default=0.5, help="without reading images, see teacher_bound")
    given.add_argument("--core-ms-per-image", type=float, default=1.35, help="reading a JPEG, see teacher_bound")
    given.add_argument("--people-per-image", type=float, default=2.4)
    given.add_argument("--bytes-per-crop", type=float, default=650, help="in the store, as `pipeline teach` prints")
    options = parser.parse_args()
    if options.arithmetic:
        print(_arithmetic(options))
        return
    if options.part:
        print(json.dumps(_tables_read() if options.part == "tables" else _store_read()))
        return
    out = options.out.absolute()
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.scale", *sys.argv[1:]]),
        "views": options.views,
    }
    with empty_folder():
        result["measured"] = _measured(sorted(options.people), options.views, options.shard)
    result[f"at {FAR} people"] = {
        what: {name: _line(of_people, name) for name in _growing(of_people)}
        for what, of_people in result["measured"].items()
    }
    print(write("scale", result, out))
    print(_plot(result["measured"], out / "scale.png"))
    print(json.dumps(result, indent=1))


def _measured(sizes: list[int], views: int, shards: list[int]) -> dict[str, dict[int, Figures]]:
    """Measure the tables, and stores of each shard size; return figures by these and by the number of people."""
    need, free = sizes[-1] * views * CROP_BYTES, shutil.disk_usage(".").free
    if need > min(MAX_DISK_BYTES, free / 2):
        raise SystemExit(
            f"error: expected {need / 1e9:.1f} GB within {MAX_DISK_BYTES / 1e9:.0f} GB and half of what is free: lower --people"
        )
    measured: dict[str, dict[int, Figures]] = {"tables": {}} | {f"shard {shard}": {} for shard in shards}
    targets = _targets()
    for count in sizes:
        people = _drawn_people(count)
        seconds, drawn = _timed(lambda people=people: draw_views(people, views, 0))  # type: ignore[misc]
        write_people(people, PEOPLE)
        write_views(drawn, VIEWS)
        tables = {
            "people's table, MB": PEOPLE.stat().st_size / 1e6,
            "views' table, MB": VIEWS.stat().st_size / 1e6,
            "drawing the views, s": seconds,
        }
        measured["tables"][count] = _rounded(tables | _part("tables"))
        for shard in shards:
            measured[f"shard {shard}"][count] = _rounded(_store(people, drawn, shard, targets))
            shutil.rmtree(STORE)
    return measured


def _drawn_people(count: int) -> People:
    """Return people like COCO's, about two per image."""
    random = np.random.default_rng(0)
    image_id = 7 * (np.arange(count) * 5 // 12) + 1
    box = np.concatenate([random.uniform(0, 400, (count, 2)), random.uniform(20, 240, (count, 2))], axis=1)
    keypoints = box[:, None, :2] + random.uniform(0, 1, (count, len(COCO17), 2)) * box[:, None, 2:]
    labelled = random.random((count, len(COCO17))) < 0.7
    return People(
        skeleton=COCO17,
        person=200_000 + 3 * np.arange(count),
        image=np.array([f"{each:012d}.jpg" for each in image_id]),
        image_id=image_id,
        image_wh=np.tile(np.array([640, 480], np.int32), (count, 1)),
        box=box,
        area=box[:, 2] * box[:, 3],
        crowd=np.zeros(count, bool),
        use=random.random(count) < 0.98,
        keypoints=np.where(labelled[..., None], keypoints.round(), 0.0),
        labelled=labelled,
        head_box=np.full((count, 4), np.nan),
    )


def _targets() -> TargetBlock:
    """Return the quantised targets of the crops in `benchmarks.answers`."""
    raw = raw_answers("simcc")
    maps, score = maps_and_scores(tuple(raw), spec_of())
    quantised = [quantise(values, BIN_AXES) for values in maps]
    levels = {name: each for name, (each, _) in zip(ARRAYS["simcc"], quantised, strict=True)}
    peak = quantised[0][1] * quantised[1][1]
    none = np.zeros(len(peak))
    return TargetBlock(none, levels, peak.astype(np.float16), score.astype(np.float16), none)


def _store(people: People, views: Views, people_per_shard: int, targets: TargetBlock) -> Figures:
    """Write a store, resume it without its manifest and complete, verify and read it; return the figures."""
    (width, height), count = (targets.levels[axis].shape[-1] for axis in ("x", "y")), len(people)
    layout = TargetLayout(count, len(views), len(COCO17), height, width, people_per_shard, separate=True)
    fingerprint = layout.fingerprint(FINGERPRINT)

    def write_one(shard: int) -> None:
        write_shard(STORE, layout, shard, _block(people, views, layout.rows(shard), targets, shard).arrays)

    with exclusive(STORE):
        plan = open_for_writing(STORE, layout, fingerprint)
        with ThreadPoolExecutor(cores()) as pool:
            writing, _ = _timed(lambda: list(pool.map(write_one, plan.pending)))
        finishing, _ = _timed(lambda: finish(STORE, layout, fingerprint))
        (STORE / MANIFEST_NAME).unlink()
        resuming, killed = _timed(lambda: open_for_writing(STORE, layout, fingerprint))
        assert not killed.pending, killed.reason
        finish(STORE, layout, fingerprint)
        repairing, complete = _timed(lambda: open_for_writing(STORE, layout, fingerprint))
        assert complete.reason == "complete", complete.reason
    verifying, problems = _timed(lambda: verify_store(STORE))
    assert not problems, problems[:3]
    files = [file for file in STORE.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return {
        "bytes a person and view": size / count / len(views),
        "files": len(files),
        "zarr.json files, kB": sum(file.stat().st_size for file in files if file.name == "zarr.json") / 1e3,
        "manifest, MB": (STORE / MANIFEST_NAME).stat().st_size / 1e6,
        "writing, s": writing,
        "hashing and manifest, s": finishing,
        "resuming when killed at the end, s": resuming,
        "resuming when complete, s": repairing,
        "cache verify, s": verifying,
    } | _part("reading")


def _block(people: People, views: Views, rows: slice, targets: TargetBlock, seed: int) -> TargetBlock:
    """Return targets of some people, drawn so that none is twice in a chunk."""
    count, known = rows.stop - rows.start, len(targets.peak)
    random = np.random.default_rng(seed)
    each = np.broadcast_to(np.arange(known), (len(views), -(-count // known), known))
    which = random.permuted(each, axis=2).reshape(len(views), -1)[:, :count].T
    wh = (targets.levels["x"].shape[-1], targets.levels["y"].shape[-1])
    affines = spec_of().image_from_target(views.regions(np.arange(rows.start, rows.stop), slice(None)), wh)
    return TargetBlock(
        people.person[rows],
        {name: levels[which] for name, levels in targets.levels.items()},
        targets.peak[which],
        targets.score[which],
        affines.reshape(count, len(views), 2, 3),
    )


def _part(name: str) -> Figures:
    """Measure a part in its own process, because of its memory, in the current folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks.scale", "--part", name]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _tables_read() -> Figures:
    """Measure loading and hashing the tables, and the order of an epoch."""
    figures: Figures = {}
    people = _watched(figures, "reading the people's table", lambda: read_people(PEOPLE))
    views = _watched(figures, "reading the views' table", lambda: read_views(VIEWS))
    texts = (people.image,)
    numbers = (people.person, people.image_wh, people.use, views.center, views.size, views.rotation)
    _watched(figures, "hashing the tables", lambda: array_digest(*texts, *numbers))
    source = TrainingSource("drawn", Path(), people, views, {})
    _watched(figures, "order of an epoch", lambda: epoch_order([source], 0, KINDS, 0))
    return figures


def _store_read() -> Figures:
    """Measure opening a store, and reading people in an epoch's order as the loader does: by chunks, of which the latest are kept."""
    figures: Figures = {}
    people, views = read_people(PEOPLE), read_views(VIEWS)
    store = _watched(figures, "opening", lambda: open_targets(STORE, "", people.person))
    order = epoch_order([TrainingSource("drawn", Path(), people, views, {})], 0, KINDS, 0)[:READ]

    @lru_cache(maxsize=2 * SHUFFLE_CHUNKS)
    def chunk(number: int, view: int) -> TargetBlock:
        return store.read(slice(number * PEOPLE_PER_CHUNK, min((number + 1) * PEOPLE_PER_CHUNK, len(people))), view)

    def read() -> None:
        for _, row, view in order.tolist():
            assert chunk(row // PEOPLE_PER_CHUNK, view).person[row % PEOPLE_PER_CHUNK] == people.person[row]

    seconds, _ = _timed(read)
    return figures | {"shuffled reading, ms a person": 1000 * seconds / len(order)}


def _watched(figures: Figures, name: str, work: Callable[[], Any]) -> Any:
    """Return the result of `work`; enter its seconds and, on Linux, its peak of additional memory into `figures`."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # the peak begins here
        before = _memory("VmRSS")
    seconds, value = _timed(work)
    figures[f"{name}, s"] = seconds
    if clear.exists():
        figures[f"{name}, MB"] = _memory("VmHWM") - before
    return value


def _memory(kind: str) -> float:
    """Return a value of this process's memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def _rounded(figures: Figures) -> Figures:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def _growing(of_people: dict[int, Figures]) -> list[str]:
    """Return the names of the figures that grow with the number of people."""
    return [name for name in next(iter(of_people.values())) if " a person" not in name]


def _line(of_people: dict[int, Figures], name: str) -> Figures:
    """Fit a line to the measurements; return its value at FAR, and its largest error as a share of the largest measurement."""
    people, values = np.array(list(of_people), np.float64), np.array([each[name] for each in of_people.values()])
    slope, start = np.polyfit(people, values, min(1, len(people) - 1)) if len(people) > 1 else (0.0, values[0])
    missed = np.abs(start + slope * people - values).max() / max(np.abs(values).max(), 1e-12)
    return _rounded(
        {"value": start + slope * FAR, "per million people": slope * 1e6, "at none": start, "misses by": missed}
    )


def _arithmetic(options: argparse.Namespace) -> str:
    """Return a table of whole datasets, as Markdown."""
    rate, crop, image = options.crops_per_second, options.core_ms_per_crop, options.core_ms_per_image
    lines = [
        f"{TEACHERS} teachers, {rate:g} crops a second and GPU; {crop:g} core-ms a crop, {image:g} core-ms an image of "
        f"{options.people_per_image:g} people; {options.bytes_per_crop:g} bytes a crop:",
        "",
        f"| people | views | crops | hours on {', '.join(map(str, GPUS))} GPUs | cores per GPU | stores |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, people in DATASETS.items():
        for views in (4, 8):
            crops = people * views * TEACHERS
            hours = ", ".join(f"{crops / rate / 3600 / gpus:.2g}" for gpus in GPUS)
            busy = rate / 1000 * (crop + image / (options.people_per_image * views))
            size = crops * options.bytes_per_crop / 1e9
            lines.append(f"| {name} | {views} | {crops / 1e6:.3g} million | {hours} | {busy:.1f} | {size:.3g} GB |")
    return "\n".join(lines)


def _plot(measured: dict[str, dict[int, Figures]], path: Path) -> Path:
    """Plot seconds, memory, files and metadata over the number of people, with their lines up to FAR."""
    panels = {"s": "seconds", "MB": "MB", "files": "files"}
    names = dict.fromkeys(name for of_people in measured.values() for name in _growing(of_people))
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 6), layout="constrained")
    for ax, (unit, title) in zip(axes, panels.items(), strict=True):
        shown = [name for name in names if name.rpartition(", ")[2] == unit]
        for what, style, marker in zip(measured, ("dotted", "solid", "dashed"), "^os", strict=True):
            of_people = measured[what]
            for name in set(shown) & set(_growing(of_people)):
                line, colour = _line(of_people, name), COLOURS[shown.index(name)]
                x = np.geomspace(min(of_people), FAR, 50)
                y = (line["at none"] + line["per million people"] * x / 1e6).clip(1e-4)
                ax.plot(x, y, color=colour, linestyle=style, lw=1)
                ax.scatter(
                    list(of_people), [each[name] for each in of_people.values()], color=colour, s=14, marker=marker
                )
        for number, name in enumerate(shown):
            ax.plot([], [], color=COLOURS[number], label=name.removesuffix(f", {unit}"))
        ax.set(xscale="log", yscale="log", xlabel="people", title=title)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    figure.suptitle("solid: teach.shard 128, dashed: 4096, dotted: tables")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
