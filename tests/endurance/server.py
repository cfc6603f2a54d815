"""Forks a process per command asked for on stdin, after everything heavy is imported: what is killed at a moment is then at its work.

Run by tests.endurance.commands in a project's folder. A command is a process group of its own.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

PRELOADED = (
    "cli",
    "stages.prepare",
    "stages.sample",
    "stages.fit",
    "stages.teach",
    "stages.distill",
    "stages.evaluate",
    "stages.export",
    "stages.report",
    "dvclive",
    "onnxruntime",
)


def main() -> None:
    """Answer each line with the process's id at once, and with its exit code when it has ended."""
    for module in PRELOADED:
        importlib.import_module(module)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _become(asked["arguments"], Path(asked["log"]))
        os.setpgid(child, child)
        print(json.dumps({"process": child}), flush=True)
        _, status, used = os.wait4(child, 0)
        # what Linux counts in kB
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss / 1000}), flush=True)


def _become(arguments: list[str], log: Path) -> None:
    """Run the command as this process and end it."""
    code = 1
    try:
        os.setpgid(0, 0)
        for stream, place in ((0, os.devnull), (1, log), (2, log)):
            opened = os.open(place, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(opened, stream)
            os.close(opened)
        sys.argv = ["pipeline", *arguments]
        try:
            importlib.import_module("cli").main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
