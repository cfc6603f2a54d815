"""A simulated store of very many people: what its metadata, opening, resuming, verifying, reading and the tables cost, and at 10 million.

    python -m benchmarks.scale
    python -m benchmarks.scale --people 10000 30000 100000 300000
    python -m benchmarks.scale --arithmetic --crops-per-second 4000

The code is the real one: tables, lock, writer, manifest, resume, reader, order of an epoch. Only the targets are a few hundred precomputed
ones of SimCC, which look like a good network's; no teacher runs, and there are no pictures. Each figure is fitted with a line in the number
of people, which is followed to 10 million; beside it stands by how much the line misses what was measured. Writes JSON and a plot to
results/benchmarks. `--arithmetic` measures nothing: it prints GPU hours, cores and bytes of whole datasets from the rates it is given.
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
from cache.lock import exclusive
from cache.manifest import NAME
from cache.reader import verify
from cache.targets import CHUNK, TargetLayout, open_targets
from cache.writer import finish, open_for_writing, write_boundary
from pipeline.outputs import maps_and_scores
from pipeline.people.people import People
from pipeline.people.table import read_people, write_people
from pipeline.skeletons import COCO17
from pipeline.spec import ARRAYS
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BINS, quantise
from pipeline.views import KINDS, Views, draw_views, read_views, write_views
from stages.stores import digest
from stages.threads import cores
from stages.training_data import BUFFER, Source, epoch_order

FAR = 10_000_000
READ = 20_000
"""People read in shuffled order."""

ROOM, CROP_BYTES = 8e9, 2500
"""Bytes of disk to stay within, and those of a crop that are reckoned with before."""

PEOPLE, VIEWS, STORE = Path("people.parquet"), Path("views.parquet"), Path("store.zarr")
FINGERPRINT = {"teacher": "answers from memory"}
ROOT = Path(__file__).resolve().parent.parent

DATASETS = {"COCO + MPII": 172_000, "10 million people": FAR}
"""Labelled people."""
TEACHERS = 2
GPUS = (1, 8, 64)

Figures = dict[str, float]

COLOURS = [*plt.get_cmap("tab10").colors, "black"]  # type: ignore[attr-defined]


def main() -> None:
    """Parse; measure and write, or reckon and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument(
        "--boundary", type=int, nargs="+", default=[128, 4096], help="people written, and resumed, as one"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=("tables", "reading"), help=argparse.SUPPRESS)
    given = parser.add_argument_group("--arithmetic")
    given.add_argument("--arithmetic", action="store_true", help="print the table of whole datasets, from:")
    given.add_argument("--crops-per-second", type=float, default=4000, help="of one GPU; nobody measured it")
    given.add_argument(
        "--core-ms-per-crop", type=float, default=0.5, help="without reading pictures, see teacher_bound"
    )
    given.add_argument("--core-ms-per-picture", type=float, default=1.35, help="reading a JPEG, see teacher_bound")
    given.add_argument("--people-per-picture", type=float, default=2.4)
    given.add_argument("--bytes-per-crop", type=float, default=650, help="in the store, as `pipeline teach` says")
    chosen = parser.parse_args()
    if chosen.arithmetic:
        print(_arithmetic(chosen))
        return
    if chosen.part:
        print(json.dumps(_tables_read() if chosen.part == "tables" else _store_read()))
        return
    out = chosen.out.absolute()
    found: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.scale", *sys.argv[1:]]),
        "views": chosen.views,
    }
    with empty_folder():
        found["measured"] = _measured(sorted(chosen.people), chosen.views, chosen.boundary)
    found[f"at {FAR} people"] = {
        what: {name: _line(of_people, name) for name in _growing(of_people)}
        for what, of_people in found["measured"].items()
    }
    print(write("scale", found, out))
    print(_plot(found["measured"], out / "scale.png"))
    print(json.dumps(found, indent=1))


def _measured(sizes: list[int], views: int, boundaries: list[int]) -> dict[str, dict[int, Figures]]:
    """By what was measured, tables or stores of a boundary, and by people."""
    need, free = sizes[-1] * views * CROP_BYTES, shutil.disk_usage(".").free
    if need > min(ROOM, free / 2):
        raise SystemExit(
            f"error: expected {need / 1e9:.1f} GB within {ROOM / 1e9:.0f} GB and half of what is free: lower --people"
        )
    measured: dict[str, dict[int, Figures]] = {"tables": {}} | {f"boundary {each}": {} for each in boundaries}
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
        for boundary in boundaries:
            measured[f"boundary {boundary}"][count] = _rounded(_store(people, drawn, boundary, targets))
            shutil.rmtree(STORE)
    return measured


def _drawn_people(count: int) -> People:
    """COCO-like ones, about two to a picture."""
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
    """Quantised targets of the crops that the answering teacher has."""
    raw = raw_answers("simcc")
    maps, score = maps_and_scores(tuple(raw), spec_of())
    quantised = [quantise(values, BINS) for values in maps]
    levels = {name: each for name, (each, _) in zip(ARRAYS["simcc"], quantised, strict=True)}
    peak = quantised[0][1] * quantised[1][1]
    none = np.zeros(len(peak))
    return TargetBlock(none, levels, peak.astype(np.float16), score.astype(np.float16), none)


def _store(people: People, views: Views, boundary: int, targets: TargetBlock) -> Figures:
    """Write a store; resume it, killed before its manifest and complete; verify and read it."""
    (width, height), count = (targets.levels[axis].shape[-1] for axis in ("x", "y")), len(people)
    layout = TargetLayout(count, len(views), len(COCO17), height, width, boundary, separate=True)
    fingerprint = layout.fingerprint(FINGERPRINT)

    def write_one(which: int) -> None:
        write_boundary(STORE, layout, which, _block(people, views, layout.rows(which), targets, which).arrays)

    with exclusive(STORE):
        plan = open_for_writing(STORE, layout, fingerprint)
        with ThreadPoolExecutor(cores()) as pool:
            writing, _ = _timed(lambda: list(pool.map(write_one, plan.pending)))
        finishing, _ = _timed(lambda: finish(STORE, layout, fingerprint))
        (STORE / NAME).unlink()
        resuming, killed = _timed(lambda: open_for_writing(STORE, layout, fingerprint))
        assert not killed.pending, killed.reason
        finish(STORE, layout, fingerprint)
        repairing, complete = _timed(lambda: open_for_writing(STORE, layout, fingerprint))
        assert complete.reason == "complete", complete.reason
    verifying, problems = _timed(lambda: verify(STORE))
    assert not problems, problems[:3]
    files = [file for file in STORE.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return {
        "bytes a person and view": size / count / len(views),
        "files": len(files),
        "zarr.json files, kB": sum(file.stat().st_size for file in files if file.name == "zarr.json") / 1e3,
        "manifest, MB": (STORE / NAME).stat().st_size / 1e6,
        "writing, s": writing,
        "hashing and manifest, s": finishing,
        "resuming when killed at the end, s": resuming,
        "resuming when complete, s": repairing,
        "cache verify, s": verifying,
    } | _part("reading")


def _block(people: People, views: Views, rows: slice, targets: TargetBlock, seed: int) -> TargetBlock:
    """The targets of some people, drawn so that none comes twice in a chunk."""
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
    """What is measured in a process of its own, in the current folder, for its memory."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks.scale", "--part", name]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _tables_read() -> Figures:
    """Loading the tables, and what stages one and two make of them."""
    figures: Figures = {}
    people = _watched(figures, "reading the people's table", lambda: read_people(PEOPLE))
    views = _watched(figures, "reading the views' table", lambda: read_views(VIEWS))
    texts = (people.image,)
    numbers = (people.person, people.image_wh, people.use, views.center, views.size, views.rotation)
    _watched(figures, "hashing the tables", lambda: digest(*texts, *numbers))
    source = Source("drawn", Path(), people, views, {})
    _watched(figures, "order of an epoch", lambda: epoch_order([source], 0, KINDS, 0))
    return figures


def _store_read() -> Figures:
    """Opening a store, and reading people in an epoch's order as the loader does: chunk by chunk, the latest kept."""
    figures: Figures = {}
    people, views = read_people(PEOPLE), read_views(VIEWS)
    store = _watched(figures, "opening", lambda: open_targets(STORE, "", people.person))
    order = epoch_order([Source("drawn", Path(), people, views, {})], 0, KINDS, 0)[:READ]

    @lru_cache(maxsize=2 * BUFFER)
    def chunk(number: int, view: int) -> TargetBlock:
        return store.read(slice(number * CHUNK, min((number + 1) * CHUNK, len(people))), view)

    def read() -> None:
        for _, row, view in order.tolist():
            assert chunk(row // CHUNK, view).person[row % CHUNK] == people.person[row]

    seconds, _ = _timed(read)
    return figures | {"shuffled reading, ms a person": 1000 * seconds / len(order)}


def _watched(figures: Figures, name: str, work: Callable[[], Any]) -> Any:
    """What `work` gives; its seconds and, on Linux, the memory it took at most beyond what there was are entered."""
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
    """MB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def _rounded(figures: Figures) -> Figures:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def _growing(of_people: dict[int, Figures]) -> list[str]:
    """Names of the figures that are of all people together."""
    return [name for name in next(iter(of_people.values())) if " a person" not in name]


def _line(of_people: dict[int, Figures], name: str) -> Figures:
    """The straight line through what was measured, where it is at FAR, and how far it is off at the most, as a share of the largest."""
    people, values = np.array(list(of_people), np.float64), np.array([each[name] for each in of_people.values()])
    slope, start = np.polyfit(people, values, min(1, len(people) - 1)) if len(people) > 1 else (0.0, values[0])
    missed = np.abs(start + slope * people - values).max() / max(np.abs(values).max(), 1e-12)
    return _rounded(
        {"there": start + slope * FAR, "per million people": slope * 1e6, "at none": start, "misses by": missed}
    )


def _arithmetic(chosen: argparse.Namespace) -> str:
    """A table of whole datasets, as Markdown."""
    rate, crop, picture = chosen.crops_per_second, chosen.core_ms_per_crop, chosen.core_ms_per_picture
    lines = [
        f"{TEACHERS} teachers, {rate:g} crops a second and GPU; {crop:g} core-ms a crop, {picture:g} core-ms a picture of "
        f"{chosen.people_per_picture:g} people; {chosen.bytes_per_crop:g} bytes a crop:",
        "",
        f"| people | views | crops | hours on {', '.join(map(str, GPUS))} GPUs | cores per GPU | stores |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, people in DATASETS.items():
        for views in (4, 8):
            crops = people * views * TEACHERS
            hours = ", ".join(f"{crops / rate / 3600 / gpus:.2g}" for gpus in GPUS)
            busy = rate / 1000 * (crop + picture / (chosen.people_per_picture * views))
            size = crops * chosen.bytes_per_crop / 1e9
            lines.append(f"| {name} | {views} | {crops / 1e6:.3g} million | {hours} | {busy:.1f} | {size:.3g} GB |")
    return "\n".join(lines)


def _plot(measured: dict[str, dict[int, Figures]], path: Path) -> Path:
    """Seconds, memory, files and metadata over the number of people, with the lines that are followed to FAR."""
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
    figure.suptitle("solid: teach.boundary 128, dashed: 4096, dotted: tables")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
