"""A small project folder as the current one; what it holds is made in tests/fixtures.py."""

import os
import shutil

# Tests run side by side, and threads that wait for each other take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from stages import prepare, teach
from tests.closure import ROOT
from tests.fixtures import make_project, params

REAL = ROOT.parent / "shared" / "real"
"""Other people's pictures, annotations and models; nothing of it is in the repository."""


@pytest.fixture(scope="session")
def real():
    """The folder of real data, where it lies beside this checkout."""
    if not REAL.is_dir():
        pytest.skip(f"real data is absent: no folder {REAL}")
    return REAL


@pytest.fixture
def unprepared(tmp_path, monkeypatch):
    """A project folder with params.yaml, one COCO dataset and one teacher."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(unprepared):
    """The same with its tables of people and views."""
    prepare.run(params(), say=lambda line: None)
    return unprepared


@pytest.fixture(scope="session")
def taught_elsewhere(tmp_path_factory):
    """A project folder with tables and its teacher's stores, to be copied."""
    place = tmp_path_factory.mktemp("taught")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        prepare.run(params(), say=lambda line: None)
        teach.run(params(), "tiny", "cpu", say=lambda line: None)
    return place


@pytest.fixture
def taught(taught_elsewhere, tmp_path, monkeypatch):
    """A copy of it, the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(taught_elsewhere, tmp_path, dirs_exist_ok=True)
