"""Runs `main()` of a module in a fork of one process that has imported it: many commands then pay for its imports once.

    with Forks("cli", code=folder) as forks:
        forks.run("cli", "prepare", "--dataset", "coco")

Each fork is a process of its own, with its own folder, environment, streams and exit code. For tests of what commands do; that they
start by themselves is tests/test_cli.py's and tests/pipeline/datasets/test_matlab.py's.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path


class Forks:
    """The process, as a context. `modules` are imported from the folder `code`; at most one command runs at a time."""

    def __init__(self, *modules: str, code: Path) -> None:
        self.modules, self.code = modules, code

    def __enter__(self) -> "Forks":
        self._folder = tempfile.TemporaryDirectory()
        self.address = Path(self._folder.name, "socket")
        command = [sys.executable, "-P", __file__, "serve", str(self.address), *self.modules]
        environment = {**os.environ, "PYTHONPATH": str(self.code)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self._process.stdout and self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def run(
        self, module: str, *arguments: str, data: bytes = b"", environment: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the current folder, with `data` on its standard input."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(data)
            files[0].seek(0)
            code = ask(str(self.address), module, arguments, [file.fileno() for file in files], dict(environment))
            out, err = (file.seek(0) or file.read() for file in files[1:])
        return subprocess.CompletedProcess([module, *arguments], code, out, err)

    def script(self, module: str) -> str:
        """Return a shell script that runs a command with its arguments, streams, folder and environment."""
        return f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" ask "{self.address}" {module} "$@"\n'


def ask(
    address: str, module: str, arguments: tuple[str, ...] | list[str], streams: list[int], environment: dict[str, str]
) -> int:
    """Have the process at a socket run a command, and return its exit code."""
    request = {"module": module, "arguments": list(arguments), "folder": os.getcwd(), "environment": environment}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        content = json.dumps(request).encode()
        socket.send_fds(connection, [len(content).to_bytes(8, "big")], streams)
        connection.sendall(content)
        return int(connection.makefile().read())


def serve(address: str, modules: list[str]) -> None:
    """Run commands until the process is killed."""
    for module in modules:
        importlib.import_module(module)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            with connection:
                size, streams, *_ = socket.recv_fds(connection, 8, 3)
                request = json.loads(connection.makefile("rb").read(int.from_bytes(size, "big")))
                child = os.fork()
                if not child:
                    _become(request, streams)
                for stream in streams:
                    os.close(stream)
                connection.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(request: dict, streams: list[int]) -> None:
    """Run the command in this process, and end the process."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        code = exit_code(request["module"], request["module"], request["arguments"])
    finally:
        os._exit(code)


def exit_code(module: str, name: str, arguments: list[str]) -> int:
    """Run `main` of a module in this process as the command `name`, and return the code that it would exit with."""
    code = 1
    sys.argv = [name, *arguments]
    try:
        code = int(importlib.import_module(module).main() or 0)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3], sys.argv[4:], [0, 1, 2], dict(os.environ)))
