"""A small project folder as the current one; what it holds is made in tests/fixtures.py."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

# Tests run side by side, and threads that wait for each other take many times as long; ONNX Runtime's wait busily. So every worker
# of as many as there are cores, with the processes that it starts, has a core of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) >= len(cores):
        os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cores)]})

import pytest

from pipeline.datasets import matlab
from stages import prepare
from stages.project.project import project_of
from stages.teach import run as teach
from tests.closure import ROOT
from tests.fixtures import make_project, params
from tests.forks import Forks

REAL = ROOT.parent / "shared" / "real"
"""Real images, annotations and models of others, none of which are in the repository."""

LONGEST = ("test_end_to_end.py", "test_real.py", "test_own_skeletons.py")
"""Files with the longest tests, or with what they share: the first files are not divided among processes."""

MEMORY = Path("/dev/shm")
"""A folder in memory, where there is one."""


def pytest_configure():
    """Let tests write to memory, where it has room: they make some fifty thousand files, and many are flushed to the disk. Some are run."""
    given, there = "PYTEST_DEBUG_TEMPROOT" in os.environ, MEMORY.is_dir()
    if there and not given and shutil.disk_usage(MEMORY).free > 4e9 and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that at the end no core waits for another."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def memory_is_given_back(request, tmp_path_factory):
    """Remove what the tests have left in memory, unless one has failed."""
    yield
    place = tmp_path_factory.getbasetemp()
    if MEMORY in place.parents and not request.session.testsfailed:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def matlab_forks():
    """Return the process that has imported SciPy, started by the first call."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(Forks(matlab.__name__, "scipy.io", code=ROOT)))


@pytest.fixture(autouse=True)
def matlab_files_are_read_in_forks(matlab_forks, monkeypatch):
    """Fork the process in which SciPy tries a file, so that it does not import SciPy for each of some hundred files."""

    def run(command, *, input, env, **_):
        assert command[:4] == [sys.executable, "-P", "-m", matlab.__name__]
        return matlab_forks().run(command[3], *command[4:], data=input, environment=env)

    here = SimpleNamespace(run=run, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(matlab, "subprocess", here)


@pytest.fixture(scope="session")
def real():
    """The folder of real data, where it lies beside this checkout."""
    if not REAL.is_dir():
        pytest.skip(f"real data is absent: no folder {REAL}")
    return REAL


@pytest.fixture(scope="session")
def unprepared_elsewhere(tmp_path_factory):
    """A project folder with params.yaml, one COCO dataset and one teacher, to be copied."""
    folder = tmp_path_factory.mktemp("unprepared")
    make_project(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_elsewhere(unprepared_elsewhere, tmp_path_factory):
    """The same with its tables of people, views and images, to be copied."""
    folder = shutil.copytree(unprepared_elsewhere, tmp_path_factory.mktemp("prepared"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare.run(project_of(params()), log=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def taught_elsewhere(prepared_elsewhere, tmp_path_factory):
    """The same with its teacher's stores, to be copied."""
    folder = shutil.copytree(prepared_elsewhere, tmp_path_factory.mktemp("taught"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    return folder


def copy_of(folder, tmp_path, monkeypatch):
    """A copy of a project folder that a test may change, as the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(folder, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def unprepared(unprepared_elsewhere, tmp_path, monkeypatch):
    """A copy of `unprepared_elsewhere`, the current folder."""
    return copy_of(unprepared_elsewhere, tmp_path, monkeypatch)


@pytest.fixture
def project(prepared_elsewhere, tmp_path, monkeypatch):
    """A copy of `prepared_elsewhere`, the current folder."""
    return copy_of(prepared_elsewhere, tmp_path, monkeypatch)


@pytest.fixture
def taught(taught_elsewhere, tmp_path, monkeypatch):
    """A copy of `taught_elsewhere`, the current folder."""
    return copy_of(taught_elsewhere, tmp_path, monkeypatch)
