"""One writer at a time: an operating-system lock that ends with the process that holds it, and a file that names that process.

Where the file system has no locks, a file stands for one; a killed process leaves it, and the next one on this machine takes it over.
"""

import errno
import functools
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from pipeline.common.errors import UserError

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""What flock says on NFS without a lock daemon and on FUSE, DVS or Lustre without `flock`."""


@contextmanager
def exclusive(path: Path, remove_lock_file: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold `<path>.lock` for the body of `with`; UserError names the process that holds it already, unless this is to `wait` for it.

    `remove_lock_file` deletes the lock file at the end, where it would lie among a user's own files.
    """
    path = path if path.name else path.absolute()  # the current folder
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(path.name + ".holder")
    lock: BaseFileLock = FileLock(path.with_name(path.name + ".lock"), fallback_to_soft=False)
    try:
        lock = _acquired(lock, path, -1 if wait else 0)
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


def _acquired(lock: BaseFileLock, path: Path, timeout: float) -> BaseFileLock:
    """Acquire the lock, or, where the file system has none, a file in its place; Timeout if another process has it for so many seconds.

    A negative `timeout` is none.
    """
    try:
        lock.acquire(timeout=timeout)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in NO_LOCKS:
            raise
        _warn_once(path.parent, os.strerror(error.errno))
        lock = SoftFileLock(path.with_name(path.name + ".soft-lock"))
        lock.acquire(timeout=timeout)
    return lock


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    """Say that a folder's file system has no locks, and what to do."""
    logging.getLogger(__name__).warning(
        "warning: %s: its file system gives no locks (%s): a file stands for them, which is safe on one machine only; "
        "mount it with `nolock` or `local_lock=all` (NFS) or `flock` (Lustre), or use another disk",
        folder,
        reason,
    )
