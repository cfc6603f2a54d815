"""`pytest tests/faults/test_any_damage.py --hypothesis-profile thorough` tries a hundred times as many damaged files."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from pipeline.datasets import matlab
from tests.closure import ROOT
from tests.forks import Forks

settings.register_profile("thorough", max_examples=3000, deadline=None)


@pytest.fixture(scope="session")
def matlab_forks() -> Iterator[Callable[[], Forks]]:
    """Return the process that has imported SciPy, started by the first call."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(Forks(matlab.__name__, "scipy.io", code=ROOT)))


@pytest.fixture(autouse=True)
def matlab_files_are_read_in_forks(matlab_forks: Callable[[], Forks], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the process in which SciPy tries a file, so that it does not import SciPy for each of some hundred files."""

    def run(command: list[str], *, input: bytes, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[:4] == [sys.executable, "-P", "-m", matlab.__name__]
        return matlab_forks().run(command[3], *command[4:], data=input, environment=env)

    monkeypatch.setattr(
        matlab, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
    )
