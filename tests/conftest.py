"""A small project folder as the current one; what it holds is made in tests/fixtures.py."""

import os
import shutil

# Tests run side by side, and threads that wait for each other take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from stages import prepare
from stages.project.project import project_of
from stages.teach import run as teach
from tests.closure import ROOT
from tests.fixtures import make_project, params

REAL = ROOT.parent / "shared" / "real"
"""Real images, annotations and models of others, none of which are in the repository."""

LONGEST = ("test_end_to_end.py", "test_real.py")
"""Files with the longest tests."""


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that at the end no core waits for another."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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
