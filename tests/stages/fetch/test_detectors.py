"""`detector fetch` against a server on localhost: what comes, where `predict` finds it, what is refused."""

import hashlib
from pathlib import Path

import pytest

from pipeline.detection import published
from pipeline.detection.published import PublishedDetector
from stages.fetch import download
from stages.fetch.detectors import fetch_detector, list_detectors
from stages.fetch.places import fetched_detector
from tests.stages.fetch.local_server import Site, serving
from tests.stages.fetch.offered import files, refusal, tarred, zipped

ONNX = b"detector" * 1000
ARCHIVE = zipped({"rtmdet/20230601/end2end.onnx": ONNX, "rtmdet/20230601/pipeline.json": b"{}"})
HOST = "https://weights.invalid/onnx_sdk/"
OFFERED = (
    PublishedDetector("rtmdet-m", HOST + "rtmdet_m-235e8209.zip", (640, 640), "people"),
    PublishedDetector("yolox-tiny", HOST + "yolox.zip", (416, 416), "people", hashlib.sha256(ONNX).hexdigest()),
)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(published, "DETECTORS", OFFERED)
    served = {"/onnx_sdk/rtmdet_m-235e8209.zip": ARCHIVE, "/onnx_sdk/yolox.zip": ARCHIVE}
    with serving(Site(served)) as site:
        yield site


def fetch(site, name="rtmdet-m") -> list[str]:
    messages: list[str] = []
    fetch_detector(name, mirror=site.address, log=messages.append)
    return messages


def test_a_detector_comes_once_and_is_found(site, tmp_path):
    assert fetched_detector() is None
    messages = fetch(site)
    digest = hashlib.sha256(ONNX).hexdigest()
    assert files(tmp_path) == {"data/detectors/rtmdet-m.onnx": ONNX}
    assert messages[1:3] == [
        "data/detectors/rtmdet-m.onnx: 0.0 MB",
        f"sha256: {digest} (none is published to compare it with)",
    ]
    assert fetch(site)[0] == "data/detectors/rtmdet-m.onnx exists already"
    assert len(site.requests) == 1
    assert f"sha256: {digest} (as recorded)" in fetch(site, "yolox-tiny")
    assert fetched_detector() == Path("data/detectors/rtmdet-m.onnx")


def test_an_archive_that_was_downloaded_manually(site, tmp_path):
    place = tmp_path / "data/detectors/yolox.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(ARCHIVE)
    fetch(site, "yolox-tiny")
    assert files(tmp_path) == {"data/detectors/yolox-tiny.onnx": ONNX}
    assert site.requests == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"a/end2end.onnx": b"changed"}), "expected an end2end.onnx with a sha256 of"),
        (zipped({"a/model.onnx": ONNX}), "expected one end2end.onnx inside, found 0: remove it"),
        (ARCHIVE.replace(b"detector", b"detectos", 1), "damaged, or no archive (Bad CRC-32"),
        (ARCHIVE[:-200], "damaged, or no archive"),
        (tarred({"../../end2end.onnx": ONNX}, "w"), "leads out of the folder"),
        (b"<!DOCTYPE html>", "neither a zip nor a tar archive"),
    ],
)
def test_an_archive_with_something_else_is_refused(site, tmp_path, content, message):
    site.files["/onnx_sdk/yolox.zip"] = content
    assert message in refusal(fetch, site, "yolox-tiny")
    assert list(files(tmp_path)) == ["data/detectors/yolox.zip"] and fetched_detector() is None


def test_another_file_at_its_place_is_neither_used_nor_overwritten(site, tmp_path):
    place = tmp_path / "data/detectors/yolox-tiny.onnx"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    assert "not the published file" in refusal(fetch, site, "yolox-tiny")
    assert place.read_bytes() == b"mine" and site.requests == []


def test_without_network_the_address_and_the_place_are_named(monkeypatch, site):
    def no_network(*_, **__):
        raise download.requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(download.requests, "get", no_network)
    assert refusal(fetch_detector, "rtmdet-m", log=lambda line: None) == (
        "rtmdet_m-235e8209.zip: weights.invalid: cannot be reached: download it manually, put it at "
        "data/detectors/rtmdet_m-235e8209.zip, then run this again: https://weights.invalid/onnx_sdk/rtmdet_m-235e8209.zip"
    )


def test_names(site):
    assert refusal(fetch, site, "rtmdet-n") == "unknown detector `rtmdet-n`: did you mean `rtmdet-m`?"
    assert [line.split() for line in list_detectors().splitlines()[1:]] == [
        ["rtmdet-m", "640x640", "people"],
        ["yolox-tiny", "416x416", "people"],
    ]


def test_the_real_list_asks_no_server(monkeypatch):
    monkeypatch.setattr(download.requests, "get", pytest.fail)
    assert len({detector.address for detector in published.DETECTORS}) == len(published.DETECTORS) == 8
    assert all(detector.address.startswith("https://") for detector in published.DETECTORS)
