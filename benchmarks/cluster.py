"""Stage one on one and on two Dask workers of this machine, compared with the same stage without a cluster.

    python -m benchmarks.cluster

Draws people and runs `teach` with an RTMPose-m of random weights by turns: in this process, on one worker, on two. Workers share the
machine's cores, so two can at best be as fast as one: this measures the cost of a cluster, not its gain. Asserts that all runs wrote
the same bytes. Writes JSON and a plot to results/benchmarks.
"""

import argparse
import hashlib
import json
import logging
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any, get_args

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, params_of, write_tables
from benchmarks.machine import RESULTS, machine, write
from pipeline.inference.session import DEFAULT_BATCH
from pipeline.pose.options import Device
from stages.project.datasets import TRAIN, load_people
from stages.project.project import project_of
from stages.teach import run as teach

VIEWS = 4
WORKERS = (1, 2)
TASKS = 2
"""Threads of a worker: it reads and writes one shard while the teacher runs on another."""

PEOPLE_PER_SHARD = 32
"""It is small, so that few people are several shards for each worker."""

PLAIN = "no cluster"


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="device of the workers and of this process"
    )
    parser.add_argument("--draw", type=int, default=60, help="images to draw, about 1.7 people each")
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        from distributed import LocalCluster
    except ImportError:
        raise SystemExit("error: Dask is not installed: run `pip install 'pose-fusion[cluster]'`") from None
    out = options.out.absolute()
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.cluster", *sys.argv[1:]]),
    }
    with empty_folder():
        draw(options.draw)
        export_teachers()
        params = params_of(VIEWS) | {"teach": {"shard": PEOPLE_PER_SHARD, "check": 0}}
        write_tables(params)
        people = int(load_people("coco", TRAIN).use.sum())
        speeds: dict[str, list[float]] = {}
        stores = set()
        for _ in range(options.rounds):
            speeds.setdefault(PLAIN, []).append(people / _seconds(params, options, None))
            stores.add(_stores())
            for workers in WORKERS:
                with LocalCluster(
                    n_workers=workers,
                    threads_per_worker=TASKS,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.ERROR,
                ) as cluster:
                    seconds = _seconds(params, options, cluster.scheduler_address)
                speeds.setdefault(_name(workers), []).append(people / seconds)
                stores.add(_stores())
    assert len(stores) == 1, f"expected the same bytes from every run, found {len(stores)} different stores"
    result |= {
        "teacher": TEACHERS[0],
        "people": people,
        "views": VIEWS,
        "batch": options.batch,
        "people per shard": PEOPLE_PER_SHARD,
        "people a second": {name: [round(each, 1) for each in values] for name, values in speeds.items()},
        "over no cluster": {name: _ratio(speeds[name], speeds[PLAIN]) for name in map(_name, WORKERS)},
        "2 workers over 1": _ratio(speeds[_name(2)], speeds[_name(1)]),
        "stores": f"the same bytes from all {len(WORKERS) + 1} in every round, sha256 {stores.pop()}",
    }
    print(write("cluster", result, out))
    print(_plot(result, out / "cluster.png"))
    print(json.dumps(result, indent=1))


def _seconds(params: dict[str, Any], options: argparse.Namespace, scheduler: str | None) -> float:
    """Return the seconds of `teach` after all sessions are open: from the last line before the stores to the end."""
    shutil.rmtree("data/targets", ignore_errors=True)
    lines: list[tuple[float, str]] = []
    teach.run(
        project_of(params),
        TEACHERS[0],
        options.device,
        options.batch,
        check=False,
        log=lambda line: lines.append((time.perf_counter(), line)),
        scheduler=scheduler,
    )
    opened = 0 if scheduler is None else next(n for n, (_, line) in enumerate(lines) if scheduler in line)
    return time.perf_counter() - lines[opened][0]


def _stores() -> str:
    """Return the sha256 over the names and bytes of every file in the stores."""
    total = hashlib.sha256()
    for file in sorted(Path("data/targets").rglob("*")):
        if file.is_file() and ".zarr" in file.as_posix():
            total.update(f"{file.as_posix()}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _name(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _ratio(ones: list[float], others: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ones, others, strict=True)), 3)


def _plot(result: dict[str, Any], path: Path) -> Path:
    """Plot the people per second of each setup, with one dot per round."""
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, values in result["people a second"].items():
        axes.bar(name, statistics.median(values), color="tab:gray" if name == PLAIN else "tab:blue")
        axes.scatter([name] * len(values), values, color="black", s=12, zorder=2)
    axes.set_ylabel("people a second")
    axes.set_title(f"{result['teacher']}, {result['views']} views, workers share the cores", fontsize="medium")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
