"""One file from a server on localhost: resumed where it stopped, never joined from two versions, checked before it is in place."""

import hashlib
import socket

import numpy as np
import pytest
from urllib3.response import HTTPResponse

from stages.fetch import download as module
from stages.fetch.download import CHUNK, download
from stages.fetch.places import is_downloaded
from tests.stages.fetch.local_server import Site, serving
from tests.stages.fetch.offered import refusal

CONTENT = np.random.default_rng(0).bytes(5 * CHUNK + 123)
OTHER = np.random.default_rng(1).bytes(5 * CHUNK + 123)
HALF = 2 * CHUNK
"""Bytes after which a download breaks off."""


@pytest.fixture
def site():
    with serving(Site({"/file.pth": CONTENT})) as site:
        yield site


@pytest.fixture
def place(tmp_path):
    return tmp_path / "deep" / "file.pth"


def bring(site, place, **more) -> list[str]:
    messages: list[str] = []
    download(f"{site.address}/file.pth", place, log=messages.append, **more)
    return messages


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(place) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def interrupt(site, place, monkeypatch) -> None:
    """A download that Ctrl-C ended in the third chunk."""
    stream = HTTPResponse.stream

    def stopping(self, *arguments, **more):
        for count, chunk in enumerate(stream(self, *arguments, **more)):
            if count == 2:
                raise KeyboardInterrupt
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(HTTPResponse, "stream", stopping)
        with pytest.raises(KeyboardInterrupt):
            bring(site, place)


def test_a_complete_file_and_nothing_beside_it(site, place):
    assert bring(site, place, expected=digest(CONTENT)[:8], size=len(CONTENT)) == []
    assert place.read_bytes() == CONTENT
    assert names(place) == ["file.pth"]
    assert site.requests == [("/file.pth", None)]


def test_a_dropped_connection_is_resumed_at_the_byte_where_it_broke(site, place):
    site.drops = [HALF, HALF]
    messages = bring(site, place, expected=digest(CONTENT)[:8])
    assert place.read_bytes() == CONTENT
    assert [byte_range for _, byte_range in site.requests] == [None, f"bytes={HALF}-", f"bytes={2 * HALF}-"]
    assert len(messages) == 2 and "trying again" in messages[0]


def test_after_an_interruption_the_next_call_goes_on(site, place, monkeypatch):
    interrupt(site, place, monkeypatch)
    assert names(place) == ["file.pth.partial", "file.pth.partial.version"]
    assert place.with_name("file.pth.partial").read_bytes() == CONTENT[:HALF]
    bring(site, place)
    assert place.read_bytes() == CONTENT
    assert site.requests[-1] == ("/file.pth", f"bytes={HALF}-")
    assert names(place) == ["file.pth"]


def test_the_date_serves_where_the_tag_is_weak(site, place, monkeypatch):
    site.tag, site.date = 'W/"one"', "Wed, 01 Jan 2020 00:00:00 GMT"
    interrupt(site, place, monkeypatch)
    assert place.with_name("file.pth.partial.version").read_text() == site.date
    bring(site, place)
    assert (place.read_bytes(), site.requests[-1][1]) == (CONTENT, f"bytes={HALF}-")


@pytest.mark.parametrize(("honours", "ranges"), [(True, [f"bytes={HALF}-"]), (False, [f"bytes={HALF}-", None])])
def test_a_changed_file_is_not_joined_to_the_old_half(site, place, monkeypatch, honours, ranges):
    """A server that honours If-Range sends all of the new file at once; for one that does not, the tag leads to another request."""
    interrupt(site, place, monkeypatch)
    site.files["/file.pth"], site.tag, site.honours_if_range = OTHER, '"two"', honours
    bring(site, place)
    assert place.read_bytes() == OTHER
    assert [byte_range for _, byte_range in site.requests[1:]] == ranges


def test_a_file_that_became_shorter_is_fetched_from_its_start(site, place, monkeypatch):
    interrupt(site, place, monkeypatch)
    site.files["/file.pth"], site.tag, site.honours_if_range = b"short", '"two"', False
    bring(site, place)
    assert place.read_bytes() == b"short"


@pytest.mark.parametrize("fault", [{"ranges": False}, {"tag": None}], ids=["no ranges", "no version"])
def test_a_server_that_cannot_resume_starts_again(site, place, monkeypatch, fault):
    for name, value in fault.items():
        setattr(site, name, value)
    interrupt(site, place, monkeypatch)
    bring(site, place)
    assert place.read_bytes() == CONTENT
    assert site.requests[-1][1] == (None if site.tag is None else f"bytes={HALF}-")


def test_a_partial_file_that_is_complete_is_only_checked(site, place):
    place.parent.mkdir()
    place.with_name("file.pth.partial").write_bytes(CONTENT)
    place.with_name("file.pth.partial.version").write_text('"one"')
    bring(site, place, expected=digest(CONTENT))
    assert place.read_bytes() == CONTENT
    assert site.requests == [("/file.pth", f"bytes={len(CONTENT)}-")]


def test_without_a_length_the_end_of_the_connection_is_the_end(site, place):
    site.sends_length = False
    bring(site, place, expected=digest(CONTENT))
    assert place.read_bytes() == CONTENT


def test_a_busy_server_gets_another_request(site, place):
    site.answers = [503, 429, 500]
    bring(site, place)
    assert place.read_bytes() == CONTENT
    assert len(site.requests) == 4


def test_after_four_fruitless_requests_the_download_fails_and_keeps_its_part(site, place):
    site.drops = [HALF, 0, 0, 0, 0, 0]
    message = refusal(bring, site, place)
    assert f"put it at {place}" in message and f"{site.address}/file.pth" in message
    assert len(site.requests) == 5
    assert place.with_name("file.pth.partial").read_bytes() == CONTENT[:HALF]


def test_a_server_without_ranges_that_always_breaks_off(site, place):
    site.ranges, site.drops = False, [HALF] * 9
    refusal(bring, site, place)
    assert len(site.requests) == 5


@pytest.mark.parametrize("status", [404, 403, 410, 204])
def test_an_answer_that_will_not_change_ends_it_at_once(site, place, status):
    site.answers = [status]
    message = refusal(bring, site, place)
    assert f"answered {status}" in message and f"put it at {place}" in message
    assert len(site.requests) == 1
    assert names(place) == []


def test_nobody_there(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    messages: list[str] = []
    message = refusal(download, f"http://127.0.0.1:{port}/file.pth", place, log=messages.append)
    assert message == (
        f"file.pth: 127.0.0.1:{port}: cannot be reached: "
        f"download it manually, put it at {place}, then run this again: http://127.0.0.1:{port}/file.pth"
    )
    assert len(messages) == 3
    assert names(place) == []


def test_a_silent_server(place, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (0.05, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/file.pth"
        assert "no answer in time" in refusal(download, address, place, log=lambda line: None)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://", "nonsense"])
def test_an_address_of_another_kind_is_not_tried_twice(place, address):
    assert "manually" in refusal(download, address, place, log=pytest.fail)


def test_the_wrong_file_is_removed_and_never_in_place(site, place):
    message = refusal(bring, site, place, expected="00000000")
    assert f"expected a sha256 of 00000000..., found {digest(CONTENT)}: removed" in message
    assert names(place) == []


def test_the_wrong_length_is_refused_before_anything_is_fetched(site, place):
    assert f"expected 5 bytes, the server offers {len(CONTENT):,}" in refusal(bring, site, place, size=5)
    assert names(place) == []


def test_a_full_disk_is_found_before_the_download(site, place, monkeypatch):
    class Usage:
        free = 2 * len(CONTENT) - 1

    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage)
    message = refusal(bring, site, place, copies=2)
    assert str(place.parent) in message and "free some disk" in message
    assert names(place) == []
    Usage.free += 1
    bring(site, place, copies=2)
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['"one"', None], ids=["resumed", "from its start"])
def test_the_part_that_has_come_needs_no_further_space(site, place, monkeypatch, tag):
    class Usage:
        free = len(CONTENT) - HALF

    site.tag = tag
    interrupt(site, place, monkeypatch)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage)
    bring(site, place)
    assert place.read_bytes() == CONTENT


def test_a_file_in_place_is_accepted_or_refused_and_never_overwritten(place):
    assert not is_downloaded(place, "0")
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    assert is_downloaded(place, digest(CONTENT)[:8])
    assert is_downloaded(place, "")
    assert refusal(is_downloaded, place, "00000000").endswith("remove or rename it, then run this again")
    assert place.read_bytes() == CONTENT
