"""A stage of DVC that runs in a process of its own, with its output in a file."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item")
PROGRESS = re.compile(r"(\d+/\d+ ?\w+),.* ([\d:]+) left")
"""A line of pipeline.common.progress: what is done, and the time left."""
UNCHANGED = "didn't change, skipping"
"""What DVC prints of a stage that needs no run."""


class RunningStage:
    """A `dvc repro --single-item` of one stage, from its start."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        """Start the stage with that many threads, unless the environment says how many; `folder` is that of its output."""
        self.name = name
        self.output = folder / f"{name.replace('/', '-')}.txt"
        self._started = time.monotonic()
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with self.output.open("wb") as stream:
            self._process = subprocess.Popen(
                [*DVC, name], stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def outcome(self) -> Literal["done", "unchanged", "failed"]:
        """How a stage that has ended did."""
        if self._process.returncode:
            return "failed"
        return "unchanged" if UNCHANGED in self.text else "done"

    @property
    def text(self) -> str:
        """What the stage has printed."""
        return self.output.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")

    @property
    def state(self) -> str:
        """The last line of progress, or how long the stage has run."""
        progress = self._progress
        return f"{progress[1]}, {progress[2]} left" if progress else f"{duration(self.seconds)} so far"

    def seconds_left(self, expected: float) -> float:
        """Return the seconds left, by the stage's own progress or by those it is expected to take in all, whichever is more."""
        own = 0
        for part in self._progress[2].split(":") if self._progress else ():
            own = 60 * own + int(part or 0)
        return max(expected - self.seconds, float(own))

    def stop(self) -> None:
        """Ask the stage's command to stop: by SIGINT, at which DVC waits for it, as it does not at SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def wait(self) -> None:
        """Wait for the end."""
        self._process.wait()

    @property
    def _progress(self) -> re.Match[str] | None:
        return PROGRESS.search(self.text.strip().rpartition("\n")[2])


def duration(seconds: float) -> str:
    """Return a length of time in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
