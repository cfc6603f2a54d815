"""One writer at a time: an operating-system lock that ends with the process that holds it, and a file that names that process."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.common.errors import UserError


@contextmanager
def exclusive(path: Path, remove_lock_file: bool = False) -> Iterator[None]:
    """Hold `<path>.lock` for the body of `with`; UserError names the process that holds it already.

    `remove_lock_file` deletes the lock file at the end, where it would lie among a user's own files.
    """
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
        if remove_lock_file:
            with suppress(OSError):  # where an open file cannot be removed
                os.unlink(lock.lock_file)
        lock.release()
