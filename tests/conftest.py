"""A small project folder as the current one; what it holds is made in tests/fixtures.py."""

import pytest

from stages import prepare
from tests.fixtures import make_project, params


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
