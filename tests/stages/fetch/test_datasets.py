"""`data fetch` against a server on localhost: what comes, where it ends, what is left after an error, what is refused."""

import os
import shutil
from pathlib import Path

import pytest

from stages.fetch import datasets, download
from stages.fetch.datasets import fetch_dataset
from tests.stages.fetch.offered import (
    COCO_ANNOTATIONS,
    COCO_IMAGES,
    MPII_ANNOTATIONS,
    MPII_IMAGES,
    files,
    refusal,
    tarred,
)

pytestmark = pytest.mark.usefixtures("offered")

MARKER = b'{"archive": "pictures.tar.gz", "files": 2}\n'
MPII_FILES = {
    "mpii/annotations/mpii_train.json": b"[]",
    "mpii/annotations/mpii_gt_val.mat": b"mat",
    "mpii/images/7.jpg": b"seven",
    "mpii/images/8.jpg": b"eight",
    "mpii/images.fetched": MARKER,
}


def fetch(site, name="mpii", **options) -> list[str]:
    messages: list[str] = []
    fetch_dataset(name, mirror=site.address, log=messages.append, **options)
    return messages


def test_coco_where_the_profile_expects_it(site, tmp_path):
    messages = fetch(site, "coco")
    expected = {
        "coco/annotations/train.json": b'"train"',
        "coco/annotations/val.json": b'"val"',
        "coco/val2017/1.jpg": b"one",
        "coco/val2017.fetched": b'{"archive": "val2017.zip", "files": 1}\n',
    }
    assert files(tmp_path / "data") == expected
    assert messages[0] == "licence: terms of COCO"
    assert "data/coco/val2017: 1 files from val2017.zip" in messages
    assert "data/downloads/val2017.zip: removed, since it is unpacked (--keep keeps it)" in messages
    assert messages[-1] == "next: pipeline prepare --dataset coco"
    requests = len(site.requests)
    assert fetch(site, "coco")[1:3] == [
        "data/coco/annotations/train.json, data/coco/annotations/val.json: exists already",
        "data/coco/val2017: exists already",
    ]
    assert (files(tmp_path / "data"), len(site.requests)) == (expected, requests)


def test_mpii_where_the_profile_expects_it(site, tmp_path):
    fetch(site)
    assert files(tmp_path / "data") == MPII_FILES


def test_archives_can_be_kept(site, tmp_path):
    fetch(site, "coco", keep=True)
    assert sorted(files(tmp_path / "data/downloads")) == ["coco.zip", "val2017.zip"]


def test_an_archive_downloaded_manually_is_unpacked_without_the_network(site, tmp_path, monkeypatch):
    downloads = tmp_path / "data/downloads"
    downloads.mkdir(parents=True)
    (downloads / "coco.zip").write_bytes(COCO_ANNOTATIONS)
    (downloads / "val2017.zip").write_bytes(COCO_ANNOTATIONS)
    assert "data/downloads/val2017.zip: not the published file" in refusal(fetch, site, "coco")
    assert not (tmp_path / "data/coco/val2017").exists()
    (downloads / "val2017.zip").write_bytes(COCO_IMAGES)
    fetch(site, "coco")
    assert (tmp_path / "data/coco/val2017/1.jpg").read_bytes() == b"one"
    assert site.requests == []


def test_own_files_beside_the_annotations_stay(site, tmp_path):
    annotations = tmp_path / "data/coco/annotations"
    annotations.mkdir(parents=True)
    (annotations / "detections.json").write_bytes(b"mine")
    (annotations / "val.json").write_bytes(b"mine")
    fetch(site, "coco")
    assert files(annotations) == {"detections.json": b"mine", "val.json": b"mine", "train.json": b'"train"'}


@pytest.mark.parametrize("fails", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_an_error_while_unpacking_leaves_no_half_folder(site, tmp_path, monkeypatch, fails):
    def failing(archive, places, advance):
        first = next(iter(places.values()))
        first.parent.mkdir(parents=True)
        first.write_bytes(b"half")
        raise fails

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "unpack", failing)
        with pytest.raises(type(fails)):
            fetch(site)
    assert list((tmp_path / "data/mpii").iterdir()) == []
    requests = len(site.requests)
    fetch(site)
    assert len(site.requests) == requests + 1  # for the images; the annotations' archive had come
    assert files(tmp_path / "data") == MPII_FILES


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("owner", "step"), [(os, "sync"), (Path, "rename")])
def test_a_kill_at_the_end_of_unpacking_is_corrected_by_the_next_run(site, tmp_path, monkeypatch, owner, step):
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(site)
    assert not (tmp_path / "data/mpii/images").exists()
    assert "data/mpii/images: 2 files from pictures.tar.gz" in fetch(site)
    assert files(tmp_path / "data") == MPII_FILES


IMAGES, MARKER_FILE = "data/mpii/images", "data/mpii/images.fetched"


def put_images(tmp_path, *names: str) -> None:
    """Files that somebody else put where images belong."""
    for name in names:
        (tmp_path / IMAGES / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / IMAGES / name).write_bytes(b"mine")


@pytest.mark.parametrize(
    ("names", "marker", "count"),
    [
        ((".DS_Store",), None, "1 file"),
        (("7.jpg", "8.jpg", "more/9.jpg"), None, "3 files"),
        (("7.jpg",), MARKER, "1 file of the 2 that pictures.tar.gz brought"),
        (("7.jpg", "8.jpg"), b'{"archive": "other.zip", "files": 2}', "2 files"),
        (("7.jpg", "8.jpg"), b'{"archive": "pictures.tar.gz", "fi', "2 files"),
        (("7.jpg", "8.jpg"), b'["pictures.tar.gz"]', "2 files"),
    ],
    ids=["system", "own", "some removed", "of another", "cut", "no mapping"],
)
def test_images_that_nobody_vouches_for_are_refused_before_any_download(site, tmp_path, names, marker, count):
    put_images(tmp_path, *names)
    if marker:
        (tmp_path / MARKER_FILE).write_bytes(marker)
    assert refusal(fetch, site) == (
        f"{IMAGES}: found {count}, not known to be all of pictures.tar.gz: if they are, make an empty file {MARKER_FILE}; "
        "if not, move the folder away; then run this again"
    )
    assert site.requests == []
    assert files(tmp_path / IMAGES) == dict.fromkeys(names, b"mine")


def test_images_that_their_owner_vouches_for_are_used_as_they_are(site, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data/mpii").mkdir(parents=True)
    (tmp_path / IMAGES).symlink_to(tmp_path / "disk")
    put_images(tmp_path, "7.jpg")
    (tmp_path / MARKER_FILE).touch()
    assert f"{IMAGES}: exists already" in fetch(site)
    assert [path for path, _ in site.requests] == [MPII_ANNOTATIONS]
    assert files(tmp_path / IMAGES) == {"7.jpg": b"mine"}


@pytest.mark.parametrize("empty", [True, False])
def test_a_marker_without_images_has_no_effect(site, tmp_path, empty):
    fetch(site)
    shutil.rmtree(tmp_path / IMAGES)
    if empty:
        (tmp_path / IMAGES).mkdir()
    assert f"{IMAGES}: 2 files from pictures.tar.gz" in fetch(site)


NO_FOLDER = "expected a folder, found a file: remove or rename it, then run this again"


@pytest.mark.parametrize(
    ("place", "make", "found"),
    [
        (IMAGES, lambda path: path.symlink_to(Path.cwd() / "empty"), "found a link to no folder or an empty one"),
        (IMAGES, lambda path: path.symlink_to("nowhere"), "found a link to no folder or an empty one"),
        (IMAGES, Path.touch, NO_FOLDER),
        ("data/mpii", Path.touch, NO_FOLDER),
        ("data/mpii", lambda path: path.symlink_to("nowhere"), "expected a folder, found a link that leads nowhere"),
        ("data/downloads", Path.touch, NO_FOLDER),
        ("data/mpii/annotations", Path.touch, NO_FOLDER),
        ("data/mpii/annotations/mpii_gt_val.mat", Path.mkdir, "expected a file, found a folder"),
        ("data/downloads/mpii.tar", Path.mkdir, "expected a file, found a folder"),
    ],
)
def test_a_place_that_is_taken_is_refused_before_any_download(site, tmp_path, place, make, found):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    make(tmp_path / place)
    message = refusal(fetch, site)
    assert message.startswith(f"{place}: ") and found in message
    assert site.requests == []


def test_annotations_may_lie_on_another_disk(site, tmp_path, monkeypatch):
    """What is unpacked lies beside where it will be: nothing can be renamed from one disk to another."""
    (tmp_path / "disk/annotations").mkdir(parents=True)
    (tmp_path / "data/mpii").mkdir(parents=True)
    (tmp_path / "data/mpii/annotations").symlink_to(tmp_path / "disk/annotations")
    written = []
    unpack = datasets.unpack
    monkeypatch.setattr(
        datasets, "unpack", lambda file, places, bar: [written.extend(places.values()), unpack(file, places, bar)]
    )
    fetch(site)
    assert {path.parent for path in written} == {
        tmp_path / "disk/annotations.unpacking",
        tmp_path / "data/mpii/images.unpacking",
    }
    assert sorted(files(tmp_path / "disk")) == ["annotations/mpii_gt_val.mat", "annotations/mpii_train.json"]


@pytest.mark.parametrize("content", [b'[{"joints": [[1, 2', b'["\xff"]', b"[" * 100_000, b""])
def test_annotations_that_do_not_parse_are_not_put_in_place(site, tmp_path, content):
    """A plain tar has no checksum of its content: the archive is read without complaint."""
    site.files[MPII_ANNOTATIONS] = tarred({"mpii_gt_val.mat": b"mat", "mpii_train.json": content}, "w")
    message = refusal(fetch, site)
    assert message.startswith("data/downloads/mpii.tar: damaged: its mpii_train.json is not JSON (")
    assert message.endswith("): remove it, then run this again")
    assert list((tmp_path / "data/mpii").iterdir()) == []


def test_an_archive_with_tricks_leaves_nothing_behind(site, tmp_path):
    site.files[MPII_IMAGES] = tarred({"images/7.jpg": b"seven", "images/../../../outside": b"x"}, "w:gz")
    assert "leads out of the folder" in refusal(fetch, site)
    assert not (tmp_path / "data/mpii/images").exists()
    assert not list(tmp_path.rglob("outside")) and not list(tmp_path.rglob("7.jpg"))


def test_a_bomb_is_measured_against_the_disk(site, tmp_path, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr(datasets, "download", lambda address, file, *_, **__: file.write_bytes(COCO_ANNOTATIONS))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage)
    assert "free some disk" in refusal(fetch, site, "coco")
    assert not (tmp_path / "data/coco/annotations").exists()


@pytest.mark.parametrize(
    ("archive", "content", "found"),
    [
        (MPII_IMAGES, ["elsewhere/1.jpg"], "expected a folder `images` inside, found 'elsewhere/1.jpg'"),
        (MPII_IMAGES, [], "found nothing"),
        (MPII_IMAGES, ["a/images/1.jpg", "b/images/1.jpg"], "found several with the same files"),
        (MPII_ANNOTATIONS, ["mpii_train.json"], "expected one mpii_gt_val.mat inside, found 0"),
        (
            MPII_ANNOTATIONS,
            ["mpii_train.json", "a/mpii_gt_val.mat", "b/mpii_gt_val.mat"],
            "one mpii_gt_val.mat inside, found 2 (inside are 'mpii_train.json', 'a/mpii_gt_val.mat', 'b/mpii_gt_val.mat')",
        ),
    ],
)
def test_content_that_is_not_where_it_should_be(site, archive, content, found):
    site.files[archive] = tarred(dict.fromkeys(content, b""), "w:gz" if archive == MPII_IMAGES else "w")
    assert found in refusal(fetch, site)


def test_halpe_must_be_downloaded_manually(tmp_path, monkeypatch):
    monkeypatch.setattr(download.requests, "get", pytest.fail)
    assert refusal(fetch_dataset, "halpe", log=lambda line: None) == (
        "halpe: its makers offer no direct download: get halpe_val_v1.json through "
        "https://github.com/Fang-Haoshu/Halpe-FullBody, put it at data/halpe/annotations/halpe_val_v1.json; "
        "its validation images are COCO's: `pipeline data fetch coco`"
    )
    place = tmp_path / "data/halpe/annotations/halpe_val_v1.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}")
    messages: list[str] = []
    fetch_dataset("halpe", log=messages.append)
    assert messages[-1] == "next: pipeline prepare --dataset halpe"
