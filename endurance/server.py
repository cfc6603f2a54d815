"""Forks a process for each command on stdin, after all heavy imports, so that a kill at any moment hits the command at work.

`endurance.commands` runs it in a project's folder. Each command has its own process group.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from tests.forks import exit_code

PRELOADED = (
    "cli",
    "stages.prepare",
    "stages.sample",
    "stages.fit",
    "stages.teach.run",
    "stages.distill.run",
    "stages.evaluate.run",
    "stages.export.run",
    "stages.report.run",
    "dvclive",
    "onnxruntime",
)


def main() -> None:
    """Answer each line at once with the process id of its command, and with the exit code after its end."""
    for module in PRELOADED:
        importlib.import_module(module)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _become(request["arguments"], Path(request["log"]))
        os.setpgid(child, child)
        print(json.dumps({"process": child}), flush=True)
        _, status, used = os.wait4(child, 0)
        # Linux counts ru_maxrss in kB.
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss / 1000}), flush=True)


def _become(arguments: list[str], log: Path) -> None:
    """Run the command in this process, and end the process."""
    code = 1
    try:
        os.setpgid(0, 0)
        for stream, target in ((0, os.devnull), (1, log), (2, log)):
            descriptor = os.open(target, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(descriptor, stream)
            os.close(descriptor)
        code = exit_code("cli", "pipeline", arguments)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
