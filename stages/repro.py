"""Command `repro`: what `dvc repro` does, with stages that do not need each other side by side, and a line for each that ends.

DVC decides what a stage needs and whether it has changed: every stage is run by a `dvc repro --single-item` of its own.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from tqdm import tqdm

from pipeline.common.errors import UserError
from pipeline.common.threads import cores

OUTPUTS = Path("data/logs")
"""Folder with the output of every stage, a file each."""
HISTORY = OUTPUTS / "repro.log"
"""A line for every stage that ended, of all runs: when, which, after how many seconds, and how."""
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item")
PROGRESS = re.compile(r"(\d+/\d+ ?\w+),.* ([\d:]+) left")
"""A line of pipeline.common.progress: what is done, and the time left."""
UNCHANGED = "didn't change, skipping"
"""What DVC prints of a stage that needs no run."""
SHORT = 5.0
"""Seconds that a stage is expected to take of which nothing else is known: most of that is DVC and Python starting."""
POLL = 0.2
"""Seconds between two looks at the running stages."""
LINE_SECONDS = 60.0
"""Seconds between two lines about running stages where no terminal shows them."""
TAIL = 12
"""Lines of a failed stage's output that are printed."""


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    output: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def run(targets: Sequence[str] = (), jobs: int | None = None, log: Callable[[str], None] = print) -> None:
    """Run the stages `targets` of DVC, by default all of dvc.yaml, up to `jobs` at a time, by default one per core.

    After a failure no other stage is started; those that run are awaited. UserError then, with the end of the stage's output.
    """
    needs, expected = _stages(targets)
    expected |= {name: seconds for name, seconds in _history().items() if name in needs}
    behind = _seconds_behind(needs, expected)
    jobs = min(jobs or cores(), len(needs))
    remaining, running, failed = dict(needs), dict[str, _Running](), dict[str, _Running]()
    total, begin = len(needs), time.monotonic()
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr.isatty()
    with (
        _stopped_with_this_process(running),
        tqdm(bar_format="{desc}", dynamic_ncols=True, disable=not terminal) as shown,
    ):
        said = time.monotonic()
        while running or (remaining and not failed):
            ready = (
                []
                if failed
                else [name for name, others in remaining.items() if not others & (remaining.keys() | running.keys())]
            )
            started = sorted(ready, key=lambda name: -expected[name] - behind[name])[: jobs - len(running)]
            share = max(1, cores() // max(1, len(running) + len(started)))
            for name in started:
                del remaining[name]
                running[name] = _start(name, share)
            time.sleep(POLL)
            for name in [name for name, stage in running.items() if stage.process.poll() is not None]:
                stage = running.pop(name)
                outcome = _outcome(stage)
                if outcome == "failed":
                    failed[name] = stage
                _record(name, stage, outcome)
                ended = total - len(remaining) - len(running)
                shown.clear()
                log(
                    f"{time.strftime('%H:%M:%S')}  {ended:2} of {total}  {name}: {_duration(stage.seconds)}{_note(outcome)}"
                )
            left = {name: expected[name] for name in remaining}
            left |= {name: max(0.0, expected[name] - stage.seconds) for name, stage in running.items()}
            longest = max((seconds + behind[name] for name, seconds in left.items()), default=0.0)
            line = f"{_running_line(running)}; about {_duration(max(longest, sum(left.values()) / jobs))} left in all"
            shown.set_description_str(line)
            if not terminal and running and time.monotonic() - said > LINE_SECONDS:
                log(f"{time.strftime('%H:%M:%S')}  {line}")
                said = time.monotonic()
    for name, stage in failed.items():
        log("\n".join(_text(stage.output).splitlines()[-TAIL:]))
        raise UserError(
            f"{name} failed, see above and {stage.output}: once that is mended, the same command goes on from there"
        )
    log(f"{total} stages in {_duration(time.monotonic() - begin)}; each stage's output: {OUTPUTS}")


def _stages(targets: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, float]]:
    """Return which of the stages each stage needs, by name, and the seconds that dvc.yaml (`meta`) says it takes."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            if targets:
                chosen = [stage for target in targets for stage in repo.stage.collect(target)]
            else:
                chosen = [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"]
            graph = repo.index.graph
            needs = {stage.addressing: {other.addressing for other in graph.successors(stage)} for stage in chosen}
            seconds = {stage.addressing: float((stage.meta or {}).get("seconds", SHORT)) for stage in chosen}
    except DvcException as error:
        raise UserError(str(error)) from error
    return {name: others & needs.keys() for name, others in needs.items()}, seconds


def _seconds_behind(needs: Mapping[str, set[str]], expected: Mapping[str, float]) -> dict[str, float]:
    """Return, for each stage, the seconds of the longest chain of stages that wait for it."""
    behind = dict.fromkeys(needs, 0.0)
    for name in reversed(list(TopologicalSorter(needs).static_order())):
        for needed in needs[name]:
            behind[needed] = max(behind[needed], behind[name] + expected[name])
    return behind


def _start(name: str, threads: int) -> _Running:
    """Start a stage with that many threads, unless the environment says how many; its output goes to a file."""
    output = OUTPUTS / f"{name.replace('/', '-')}.txt"
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*DVC, name], stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return _Running(process, output)


@contextlib.contextmanager
def _stopped_with_this_process(running: Mapping[str, _Running]) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the running stages, whose trainings save a checkpoint then, and wait for them.

    Stages get SIGINT, because DVC waits for its command then, and does not at SIGTERM.
    """

    def stop(number: int, frame: object) -> None:
        for stage in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(stage.process.pid, signal.SIGINT)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for stage in running.values():
            stage.process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(stage: _Running) -> str:
    if stage.process.returncode:
        return "failed"
    return "unchanged" if UNCHANGED in _text(stage.output) else "done"


def _note(outcome: str) -> str:
    return "" if outcome == "done" else f", {outcome}"


def _record(name: str, stage: _Running, outcome: str) -> None:
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {name} {stage.seconds:.0f} s {outcome}\n")


def _history() -> dict[str, float]:
    """Return the seconds that each stage took when it was last run to its end."""
    lines = HISTORY.read_text(encoding="utf-8").splitlines() if HISTORY.is_file() else []
    parts = [line.split() for line in lines]
    return {part[2]: float(part[3]) for part in parts if len(part) == 6 and part[5] == "done"}


def _running_line(running: Mapping[str, _Running]) -> str:
    """Return what the running stages do: the last line of each one's output, or how long it has run."""
    return "; ".join(f"{name}: {_last_line(stage)}" for name, stage in running.items())


def _last_line(stage: _Running) -> str:
    last = _text(stage.output).replace("\r", "\n").strip().rpartition("\n")[2]
    progress = PROGRESS.search(last)
    return f"{progress[1]}, {progress[2]} left" if progress else f"{_duration(stage.seconds)} so far"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
