"""What C libraries write to stderr, caught: libjpeg, libpng and their like say what is wrong with a picture, but not with which."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

STDERR = 2


@contextlib.contextmanager
def caught() -> Iterator[list[str]]:
    """Nothing reaches the process's stderr inside; afterwards the list holds its lines, each once.

    It is the whole process's, so no other thread may write there meanwhile.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(STDERR)
        os.dup2(file.fileno(), STDERR)
        try:
            yield lines
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            file.seek(0)
            lines += dict.fromkeys(file.read().decode(errors="replace").splitlines())
