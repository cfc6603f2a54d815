"""Captures what C libraries write to stderr: libjpeg, libpng and others report what is wrong with an image, but not with which."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

STDERR = 2


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Capture the process's stderr inside the block; afterwards the list holds its lines, each once.

    The whole process is affected, so no other thread may write there meanwhile.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        original = os.dup(STDERR)
        os.dup2(file.fileno(), STDERR)
        try:
            yield lines
        finally:
            os.dup2(original, STDERR)
            os.close(original)
            file.seek(0)
            lines += dict.fromkeys(file.read().decode(errors="replace").splitlines())
