"""MATLAB files up to version 7, read by SciPy, which first tries each file in a process of its own. No dataset is known here.

SciPy's reader trusts the types and counts that it finds in a file: a changed bit can crash the process or take all memory. In a
process of its own, which has limits, both are error messages; a file that was read there is then read here.
"""

import contextlib
import gc
import io
import os
import subprocess
import sys
from typing import Any

from pipeline.common.errors import UserError
from pipeline.people.validation import read_bytes, reason

MEMORY = 3 << 30
"""Bytes of address space that the process may take; MPII's release needs about one GB."""
SECONDS, SECONDS_PER_MB = 5, 15
"""Processor time that the process may take, for any file and for each MB; MPII's release needs about one second per MB."""


def read_mat(path: str | os.PathLike[str], structs: bool = False) -> dict[str, Any]:
    """The variables of a MATLAB file up to version 7. `structs`: with structs as objects, and without dimensions of length 1.

    Raises UserError where SciPy cannot read the file.
    """
    data = read_bytes(path)
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise UserError(
            f"{path}: expected a MATLAB file of version 7 or older, found version 7.3 (HDF5): "
            "in MATLAB, load it and write it again with `save(name, '-v7')`"
        )
    limits = (str(MEMORY), str(SECONDS + SECONDS_PER_MB * len(data) // 10**6))
    found = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline.datasets.matlab", *limits, "structs" if structs else "arrays"],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # One thread, since every further one of OpenBLAS reserves address space.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if found.returncode or found.stdout:
        why = found.stdout.decode(errors="replace") or f"the reader ended with exit code {found.returncode}"
        raise UserError(f"{path}: expected a MATLAB file, found one that SciPy cannot read ({why})")
    return _variables(data, structs)


def _variables(data: bytes, structs: bool) -> dict[str, Any]:
    from scipy.io import loadmat

    collects = gc.isenabled()
    gc.disable()  # a million structs are made, and none is dropped
    try:
        variables: dict[str, Any] = loadmat(io.BytesIO(data), struct_as_record=not structs, squeeze_me=structs)
        return variables
    finally:
        if collects:
            gc.enable()


def main() -> None:
    """What the process does: read a file's bytes from standard input; write why that cannot be done, nothing where it can."""
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        limits = {resource.RLIMIT_AS: int(sys.argv[1]), resource.RLIMIT_CPU: int(sys.argv[2]), resource.RLIMIT_CORE: 0}
        for kind, limit in limits.items():
            with contextlib.suppress(ValueError, OSError):  # a lower limit stands already, or the system knows none
                resource.setrlimit(kind, (limit, limit))
    try:
        _variables(sys.stdin.buffer.read(), structs=sys.argv[3] == "structs")
    except Exception as error:  # SciPy raises whatever it stumbles over
        sys.stdout.write(reason(error))


if __name__ == "__main__":
    main()
