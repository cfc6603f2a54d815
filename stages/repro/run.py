"""Command `repro`: what `dvc repro` does, with stages that do not need each other side by side, and a line for each that ends.

DVC decides what a stage needs and whether it has changed: every stage is run by a `dvc repro --single-item` of its own.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from pipeline.common.errors import UserError
from pipeline.common.threads import cores
from stages.repro.graph import history, seconds_behind, stages_of
from stages.repro.running import RunningStage, duration

OUTPUTS = Path("data/logs")
"""Folder with the output of every stage, a file each."""
HISTORY = OUTPUTS / "repro.log"
"""A line for every stage that ended, of all runs: when, which, after how many seconds, and how."""
POLL = 0.2
"""Seconds between two looks at the running stages."""
LINE_SECONDS = 60.0
"""Seconds between two lines about running stages where no terminal shows them."""
TAIL = 12
"""Lines of a failed stage's output that are printed."""


def run(targets: Sequence[str] = (), jobs: int | None = None, log: Callable[[str], None] = print) -> None:
    """Run the stages `targets` of DVC, by default all of dvc.yaml, up to `jobs` at a time, by default one per core.

    After a failure no other stage is started; those that run are awaited. UserError then, with the end of the stage's output.
    """
    needs, expected = stages_of(targets)
    if not needs:
        raise UserError(
            "dvc.yaml: expected stages to run, found none: run this in the folder of a project that has them"
        )
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    expected |= {name: seconds for name, seconds in history(HISTORY).items() if name in needs}
    behind = seconds_behind(needs, expected)
    jobs = min(jobs or cores(), len(needs))
    waiting, running = dict(needs), dict[str, RunningStage]()
    failed: list[RunningStage] = []
    begin = said = time.monotonic()
    terminal = sys.stderr.isatty()
    with (
        _stopped_with_this_process(running),
        tqdm(bar_format="{desc}", dynamic_ncols=True, disable=not terminal) as shown,
    ):
        while running or (waiting and not failed):
            ready = [name for name, others in waiting.items() if not others & (waiting.keys() | running.keys())]
            ready.sort(key=lambda name: -expected[name] - behind[name])
            started = [] if failed else ready[: jobs - len(running)]
            share = max(1, cores() // max(1, len(running) + len(started)))
            for name in started:
                del waiting[name]
                running[name] = RunningStage(name, OUTPUTS, share)
            time.sleep(POLL)
            for name in [name for name, stage in running.items() if stage.has_ended]:
                stage = running.pop(name)
                failed += [stage] if stage.outcome == "failed" else []
                _record(stage)
                shown.clear()
                note = "" if stage.outcome == "done" else f", {stage.outcome}"
                ended = len(needs) - len(waiting) - len(running)
                log(f"{_clock()}  {ended:2} of {len(needs)}  {name}: {duration(stage.seconds)}{note}")
            line = _line(waiting, running, expected, behind, jobs)
            shown.set_description_str(line)
            if not terminal and running and time.monotonic() - said > LINE_SECONDS:
                log(f"{_clock()}  {line}")
                said = time.monotonic()
    for stage in failed:
        log("\n".join([f"{stage.output}:", *stage.text.splitlines()[-TAIL:]]))
    if failed:
        raise UserError(f"{failed[0].name} failed, see above: once that is mended, the same command goes on from there")
    log(f"{len(needs)} stages in {duration(time.monotonic() - begin)}; each stage's output: {OUTPUTS}")


@contextlib.contextmanager
def _stopped_with_this_process(running: Mapping[str, RunningStage]) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the running stages, whose trainings save a checkpoint then, and wait for them."""

    def stop(number: int, frame: object) -> None:
        for stage in running.values():
            stage.stop()
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for stage in running.values():
            stage.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(
    waiting: Collection[str],
    running: Mapping[str, RunningStage],
    expected: Mapping[str, float],
    behind: Mapping[str, float],
    jobs: int,
) -> str:
    """Return what the running stages do and how long all will take: as long as the longest chain, or all shared among the jobs."""
    left = {name: expected[name] for name in waiting}
    left |= {name: stage.seconds_left(expected[name]) for name, stage in running.items()}
    longest = max((seconds + behind[name] for name, seconds in left.items()), default=0.0)
    states = "".join(f"{name}: {stage.state}; " for name, stage in running.items())
    return f"{states}about {duration(max(longest, sum(left.values()) / jobs))} left in all"


def _record(stage: RunningStage) -> None:
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(f"{time.strftime('%Y-%m-%d')} {_clock()} {stage.name} {stage.seconds:.0f} s {stage.outcome}\n")


def _clock() -> str:
    return time.strftime("%H:%M:%S")
