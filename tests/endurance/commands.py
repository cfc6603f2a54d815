"""Commands of a project's pipeline, each a process group that can be killed at a moment; tests.endurance.server forks them."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("server.py")
LONGEST = 600.0
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` is -9 where it was killed."""

    code: int
    seconds: float
    peak: float
    """Resident memory, in MB."""
    said: str


class Commands:
    """Runs one command at a time in `folder`, with the code that lies in `code`."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        self._log = folder / ".log"
        self._server = subprocess.Popen(
            [sys.executable, "-P", str(SERVER)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        start = time.monotonic()
        self._answer(LONGEST)
        self.start_seconds = time.monotonic() - start
        """What importing everything takes, which a command of its own begins with."""

    def run(self, *arguments: str) -> Ended:
        """To its end."""
        return self.killed_after(LONGEST, *arguments)

    def killed_after(self, seconds: float, *arguments: str) -> Ended:
        """Started, and its process group killed when so many seconds have passed, unless it has ended by then."""
        self._log.unlink(missing_ok=True)
        print(json.dumps({"arguments": arguments, "log": str(self._log)}), file=self._server.stdin, flush=True)
        process, start = self._answer(LONGEST)["process"], time.monotonic()
        answer = self._answer(seconds)
        if not answer:
            os.killpg(process, signal.SIGKILL)
            answer = self._answer(LONGEST)
        said = self._log.read_text() if self._log.is_file() else ""
        return Ended(answer["code"], time.monotonic() - start, answer["peak"], said)

    def close(self) -> None:
        """End the server."""
        self._server.communicate()

    def _answer(self, seconds: float) -> Any:
        """The next line of the server; {} where none has come by then."""
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], seconds)[0]:
            return {}
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the server of commands has ended")
        return json.loads(line)


@contextmanager
def commands(folder: Path, code: Path) -> Iterator[Commands]:
    """For `with`: the server ends with it."""
    served = Commands(folder, code)
    try:
        yield served
    finally:
        served.close()
