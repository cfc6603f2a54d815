"""Stage one over one and over two Dask workers of this machine, against the same stage without a cluster.

    python -m benchmarks.cluster

Draws people, lets an RTMPose-m of random weights teach them by turns: in this process, over one worker, over two. Workers share the
machine's cores, so two can at best be as fast as one: this measures what a cluster costs, and no gain. Asserts that all of them wrote
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

from benchmarks.drawn import TEACHERS, draw, empty_folder, export_teachers, params_of, prepared
from benchmarks.machine import RESULTS, machine, write
from pipeline.teachers.session import BATCH, Device
from stages import teach
from stages.datasets import TRAIN, load_people

VIEWS = 4
WORKERS = (1, 2)
TASKS = 2
"""Threads of a worker: it reads and writes one unit while the teacher looks at another."""

BOUNDARY = 32
"""People written at once, so that few people are several units of work for each worker."""

PLAIN = "no cluster"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="of the workers, and of this process"
    )
    parser.add_argument("--pictures", type=int, default=60, help="about 1.7 people each, four views of every person")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    try:
        from distributed import LocalCluster
    except ImportError:
        raise SystemExit("error: Dask is not installed: run `pip install 'pose-fusion[cluster]'`") from None
    out = chosen.out.absolute()
    found: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.cluster", *sys.argv[1:]]),
    }
    with empty_folder():
        draw(chosen.pictures)
        export_teachers()
        params = params_of(VIEWS) | {"teach": {"boundary": BOUNDARY, "check": 0}}
        prepared(params)
        people = int(load_people("coco", TRAIN).use.sum())
        speeds: dict[str, list[float]] = {}
        stores = set()
        for _ in range(chosen.rounds):
            speeds.setdefault(PLAIN, []).append(people / _seconds(params, chosen, None))
            stores.add(_stores())
            for workers in WORKERS:
                with LocalCluster(
                    n_workers=workers,
                    threads_per_worker=TASKS,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.ERROR,
                ) as cluster:
                    seconds = _seconds(params, chosen, cluster.scheduler_address)
                speeds.setdefault(_name(workers), []).append(people / seconds)
                stores.add(_stores())
    assert len(stores) == 1, f"expected the same bytes from every run, found {len(stores)} different stores"
    found |= {
        "teacher": TEACHERS[0],
        "people": people,
        "views": VIEWS,
        "batch": chosen.batch,
        "boundary": BOUNDARY,
        "people a second": {name: [round(each, 1) for each in values] for name, values in speeds.items()},
        "over no cluster": {name: _ratio(speeds[name], speeds[PLAIN]) for name in map(_name, WORKERS)},
        "2 workers over 1": _ratio(speeds[_name(2)], speeds[_name(1)]),
        "stores": f"the same bytes from all {len(WORKERS) + 1} in every round, sha256 {stores.pop()}",
    }
    print(write("cluster", found, out))
    print(_plot(found, out / "cluster.png"))
    print(json.dumps(found, indent=1))


def _seconds(params: dict[str, Any], chosen: argparse.Namespace, scheduler: str | None) -> float:
    """Of `teach` once all sessions are open: from the last line said before the stores to the end."""
    shutil.rmtree("data/targets", ignore_errors=True)
    said: list[tuple[float, str]] = []
    teach.run(
        params,
        TEACHERS[0],
        chosen.device,
        chosen.batch,
        check=False,
        say=lambda line: said.append((time.perf_counter(), line)),
        scheduler=scheduler,
    )
    opened = 0 if scheduler is None else next(n for n, (_, line) in enumerate(said) if scheduler in line)
    return time.perf_counter() - said[opened][0]


def _stores() -> str:
    """sha256 over the names and bytes of every file in the stores."""
    total = hashlib.sha256()
    for file in sorted(Path("data/targets").rglob("*")):
        if file.is_file() and ".zarr" in file.as_posix():
            total.update(f"{file.as_posix()}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _name(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _ratio(ones: list[float], others: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ones, others, strict=True)), 3)


def _plot(found: dict[str, Any], path: Path) -> Path:
    """People a second of each, one dot a round."""
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, values in found["people a second"].items():
        axes.bar(name, statistics.median(values), color="tab:gray" if name == PLAIN else "tab:blue")
        axes.scatter([name] * len(values), values, color="black", s=12, zorder=2)
    axes.set_ylabel("people a second")
    axes.set_title(f"{found['teacher']}, {found['views']} views, workers share the cores", fontsize="medium")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
