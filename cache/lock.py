"""One writer per store: an operating-system lock that dies with its holder, and who the holder is."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError


@contextmanager
def exclusive(path: Path, passing: bool = False) -> Iterator[None]:
    """Hold `<path>.lock` while inside; UserError names the process that has it. `passing`: that file goes again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(path.name + ".holder")
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        raise UserError(f"{path} is being written by {who}: wait for it or stop it, then run this again") from None
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        if passing:
            with suppress(OSError):  # where an open file cannot be removed
                os.unlink(lock.lock_file)
        lock.release()
