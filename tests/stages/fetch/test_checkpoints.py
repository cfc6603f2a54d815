"""`teacher fetch` against a server on localhost: what comes, what is printed, what is refused."""

import hashlib
import shlex

import pytest

from pipeline.common.locks import exclusive
from pipeline.networks import published
from stages.fetch import download
from stages.fetch.checkpoints import fetch_checkpoint, list_checkpoints
from tests.stages.fetch.offered import BACKBONE_FILE, FILE, PREFIX, SERVED, WEIGHTS, files, refusal

pytestmark = pytest.mark.usefixtures("offered")


def fetch(site, name="rtmpose-m-coco") -> list[str]:
    messages: list[str] = []
    fetch_checkpoint(name, mirror=site.address, log=messages.append)
    return messages


def test_a_checkpoint_and_the_next_command(site, tmp_path):
    messages = fetch(site)
    assert files(tmp_path) == {f"data/published/{FILE}": WEIGHTS}
    assert f"sha256: {hashlib.sha256(WEIGHTS).hexdigest()} (its first eight digits are in the file's name)" in messages
    assert "published score: AP 0.746 (COCO val2017, boxes of a detector, flip averaging)" in messages
    assert shlex.split(messages[-1]) == [
        "next:",
        *("pipeline", "teacher", "import", f"data/published/{FILE}", "--arch", "rtmpose-m"),
        *("--skeleton", "coco17", "--input", "256x192", "--out", "data/teachers/coco.onnx"),
    ]
    again = fetch(site)
    assert again[0] == f"data/published/{FILE} exists already"
    assert again[-1] == messages[-1]
    assert len(site.requests) == 1


def test_a_backbone_is_no_teacher(site, tmp_path):
    messages = fetch(site, "cspnext-s")
    assert files(tmp_path) == {f"data/published/{BACKBONE_FILE}": WEIGHTS}
    assert messages[-3:] == [
        "published score: AP 0.700 (COCO val2017, annotated boxes)",
        f"licence: {published.BACKBONE_TERMS}",
        f"next: in params.yaml, `distill`: network: rtmpose-s, start: data/published/{BACKBONE_FILE}",
    ]


def test_the_list_asks_no_server(monkeypatch):
    monkeypatch.setattr(download.requests, "get", pytest.fail)
    assert [line.split(maxsplit=2) for line in list_checkpoints().splitlines() if line[:3] in ("rtm", "csp")] == [
        ["rtmpose-m-coco", "256x192", "AP 0.746 (COCO val2017, boxes of a detector, flip averaging)"],
        ["cspnext-s", "any", "rtmpose-s's; under its own head AP 0.700 (COCO val2017, annotated boxes)"],
    ]


def test_a_wrong_checkpoint_in_place_is_neither_used_nor_overwritten(site, tmp_path):
    place = tmp_path / "data/published" / FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other")
    assert "not the published file" in refusal(fetch, site)
    assert place.read_bytes() == b"other"
    place.unlink()
    place.mkdir()
    assert refusal(fetch, site) == (
        f"data/published/{FILE}: expected a file, found a folder: remove or rename it, then run this again"
    )
    place.rmdir()
    place.parent.joinpath(f"{FILE}.lock").unlink()
    place.parent.rmdir()
    place.parent.touch()
    assert refusal(fetch, site).startswith("data/published: expected a folder, found a file")
    assert site.requests == []


def test_a_server_with_another_file(site, tmp_path):
    site.files[f"/mmpose/v1/{FILE}"] = b"changed"
    assert f"expected a sha256 of {PREFIX}..." in refusal(fetch, site)
    assert files(tmp_path) == {}


def test_a_name_that_is_not_offered(site):
    assert refusal(fetch, site, "rtmpose-m-koko") == (
        "unknown checkpoint `rtmpose-m-koko`: did you mean `rtmpose-m-coco`?"
    )
    assert refusal(fetch, site, "zzz") == "unknown checkpoint `zzz`: known are rtmpose-m-coco, cspnext-s"
    assert site.requests == []


@pytest.mark.parametrize(
    "mirror", ["ftp://example.org", "example.org", "http://", "file:///tmp", "http://[::1", "http://a]b"]
)
def test_a_mirror_is_a_web_address(mirror):
    message = refusal(fetch_checkpoint, "rtmpose-m-coco", mirror=mirror)
    assert message == f"--mirror: expected an address like https://example.org/files, found {mirror!r}"


def test_a_mirror_may_have_a_path(site, tmp_path):
    site.files = {"/copies/of" + path: content for path, content in SERVED.items()}
    fetch_checkpoint("rtmpose-m-coco", mirror=site.address + "/copies/of/", log=lambda line: None)
    assert files(tmp_path) == {f"data/published/{FILE}": WEIGHTS}


def test_without_network_the_address_and_the_place_are_named(monkeypatch):
    def no_network(*_, **__):
        raise download.requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(download.requests, "get", no_network)
    assert refusal(fetch_checkpoint, "rtmpose-m-coco", log=lambda line: None) == (
        f"{FILE}: weights.invalid: cannot be reached: download it manually, put it at data/published/{FILE}, "
        f"then run this again: https://weights.invalid/mmpose/v1/{FILE}"
    )


def test_two_at_once(site, tmp_path):
    with exclusive(tmp_path / "data/published" / FILE):
        assert "is being written by" in refusal(fetch, site)
    assert site.requests == []
