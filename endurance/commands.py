"""Runs commands of a project's pipeline, each in a process group that can be killed. `endurance.server` forks them."""

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
MAX_SECONDS = 600.0
"""Longest time of a command."""


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    code: int
    """Exit code; -9 if it was killed."""
    seconds: float
    peak: float
    """Peak resident memory in MB."""
    output: str


class Commands:
    """Runs one command at a time in `folder`, with the code in the folder `code`."""

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
        self._answer(MAX_SECONDS)
        self.start_seconds = time.monotonic() - start
        """Seconds of the imports that every command begins with."""

    def run(self, *arguments: str) -> CommandResult:
        """Run a command to its end."""
        return self.killed_after(MAX_SECONDS, *arguments)

    def killed_after(self, seconds: float, *arguments: str) -> CommandResult:
        """Run a command, and kill its process group after `seconds` if it has not ended by then."""
        self._log.unlink(missing_ok=True)
        print(json.dumps({"arguments": arguments, "log": str(self._log)}), file=self._server.stdin, flush=True)
        process, start = self._answer(MAX_SECONDS)["process"], time.monotonic()
        answer = self._answer(seconds)
        if not answer:
            os.killpg(process, signal.SIGKILL)
            answer = self._answer(MAX_SECONDS)
        output = self._log.read_text() if self._log.is_file() else ""
        return CommandResult(answer["code"], time.monotonic() - start, answer["peak"], output)

    def close(self) -> None:
        """End the server."""
        self._server.communicate()

    def _answer(self, seconds: float) -> Any:
        """Return the next message of the server, or {} if none comes within `seconds`."""
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], seconds)[0]:
            return {}
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the server of commands has ended")
        return json.loads(line)


@contextmanager
def commands(folder: Path, code: Path) -> Iterator[Commands]:
    """Start a server that ends with the context."""
    server = Commands(folder, code)
    try:
        yield server
    finally:
        server.close()
