"""Downloads without pauses, from localhost, into an empty folder."""

import pytest

from stages.fetch import download
from tests.stages.fetch.local_server import Site, serving
from tests.stages.fetch.offered import SERVED, offer


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def offered(monkeypatch):
    offer(monkeypatch)


@pytest.fixture
def site(offered):
    with serving(Site(dict(SERVED))) as site:
        yield site
