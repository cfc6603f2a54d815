"""`teacher fetch` and `data fetch` against a server on localhost: what comes, where it ends, what is said, what is refused."""

import hashlib
import io
import shlex
import tarfile
import zipfile

import pytest

from pipeline.errors import UserError
from stages import fetch
from stages.fetching import catalogue
from stages.fetching import download as module
from stages.fetching.catalogue import Archive, Checkpoint, Dataset, Start
from tests.stages.fetching.local_server import Site, serving

WEIGHTS = b"weights" * 1000
PREFIX = hashlib.sha256(WEIGHTS).hexdigest()[:8]
FILE = f"rtmpose-m_256x192-{PREFIX}_20230127.pth"


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


COCO_ANNOTATIONS = zipped({f"annotations/{name}.json": f'"{name}"'.encode() for name in ("instances", "train", "val")})
SERVED = {
    f"/mmpose/v1/{FILE}": WEIGHTS,
    "/annotations/coco.zip": COCO_ANNOTATIONS,
    "/zips/val2017.zip": zipped({"val2017/": b"", "val2017/1.jpg": b"one", "__MACOSX/val2017/._1.jpg": b"junk"}),
    "/mmpose/datasets/mpii.tar": tarred({"mpii/mpii_train.json": b"[]", "mpii/mpii_gt_val.mat": b"mat"}, "w"),
    "/mpii/pictures.tar.gz": tarred({"images/7.jpg": b"seven", "images/8.jpg": b"eight"}, "w:gz"),
}
CHECKPOINTS = (
    Checkpoint(
        "rtmpose-m-coco", f"https://weights.invalid/mmpose/v1/{FILE}", "AP 0.746", "rtmpose-m", "coco17", (256, 192)
    ),
)
START_FILE = f"cspnext-s_udp-{PREFIX}_20230130.pth"
SERVED[f"/mmpose/v1/{START_FILE}"] = WEIGHTS
STARTS = (Start("cspnext-s", f"https://weights.invalid/mmpose/v1/{START_FILE}", "AP 0.700", "rtmpose-s"),)
DATASETS = (
    Dataset(
        "coco",
        "https://page.invalid",
        "terms of COCO",
        (
            Archive("http://coco.invalid/annotations/coco.zip", "coco/annotations", files=("train.json", "val.json")),
            Archive(
                "http://coco.invalid/zips/val2017.zip",
                "coco/val2017",
                pictures="val2017",
                sha256=hashlib.sha256(SERVED["/zips/val2017.zip"]).hexdigest(),
                size=len(SERVED["/zips/val2017.zip"]),
            ),
        ),
    ),
    Dataset(
        "mpii",
        "https://page.invalid",
        "terms of MPII",
        (
            Archive(
                "https://weights.invalid/mmpose/datasets/mpii.tar",
                "mpii/annotations",
                files=("mpii_train.json", "mpii_gt_val.mat"),
            ),
            Archive("https://mpii.invalid/mpii/pictures.tar.gz", "mpii/images", pictures="images"),
        ),
    ),
    *(dataset for dataset in catalogue.DATASETS if dataset.name == "halpe"),
)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "CHECKPOINTS", CHECKPOINTS)
    monkeypatch.setattr(catalogue, "STARTS", STARTS)
    monkeypatch.setattr(catalogue, "DATASETS", DATASETS)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site():
    with serving(Site(dict(SERVED))) as site:
        yield site


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def get_teacher(site, name="rtmpose-m-coco") -> list[str]:
    said: list[str] = []
    fetch.teacher(name, mirror=site.address, say=said.append)
    return said


def get_data(site, name, **more) -> list[str]:
    said: list[str] = []
    fetch.data(name, mirror=site.address, say=said.append, **more)
    return said


def files(folder) -> dict[str, bytes]:
    """All below it but locks, path to content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_checkpoint_and_the_next_command(site, tmp_path):
    said = get_teacher(site)
    assert files(tmp_path) == {f"data/published/{FILE}": WEIGHTS}
    assert f"sha256: {hashlib.sha256(WEIGHTS).hexdigest()} (its first eight digits stand in its name)" in said
    assert "published score: AP 0.746 (COCO val2017, boxes of a detector, flip averaging)" in said
    assert shlex.split(said[-1]) == [
        "next:",
        *("pipeline", "teacher", "import", f"data/published/{FILE}", "--arch", "rtmpose-m"),
        *("--skeleton", "coco17", "--input", "256x192", "--out", "data/teachers/coco.onnx"),
    ]


def test_a_checkpoint_that_is_there_is_not_fetched_again(site):
    get_teacher(site)
    said = get_teacher(site)
    assert said[0] == f"data/published/{FILE} is there already"
    assert len(site.asked) == 1
    assert said[-1].startswith("next: pipeline teacher import")


def test_a_wrong_checkpoint_in_place_is_neither_used_nor_overwritten(site, tmp_path):
    place = tmp_path / "data/published" / FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other")
    assert "not the published file" in refusal(get_teacher, site)
    assert place.read_bytes() == b"other"
    assert site.asked == []


def test_a_server_with_another_file(site, tmp_path):
    site.files[f"/mmpose/v1/{FILE}"] = b"changed"
    assert f"expected a sha256 of {PREFIX}..." in refusal(get_teacher, site)
    assert files(tmp_path) == {}


def test_a_name_that_is_not_there(site):
    assert refusal(get_teacher, site, "rtmpose-m-koko") == (
        "unknown checkpoint `rtmpose-m-koko`: did you mean `rtmpose-m-coco`?"
    )
    assert refusal(get_teacher, site, "zzz") == "unknown checkpoint `zzz`: known are rtmpose-m-coco, cspnext-s"
    assert site.asked == []


def test_a_start_of_students_is_no_teacher(site, tmp_path):
    said = get_teacher(site, "cspnext-s")
    assert files(tmp_path) == {f"data/published/{START_FILE}": WEIGHTS}
    assert said[-3:] == [
        "published score: AP 0.700 (COCO val2017, annotated boxes)",
        f"licence: {catalogue.START_TERMS}",
        f"next: in params.yaml, `distill`: network: rtmpose-s, start: data/published/{START_FILE}",
    ]
    assert fetch.listing().splitlines()[-2:] == [
        "no teachers, but backbones that students start from (`distill.start` in params.yaml):",
        "cspnext-s          any      rtmpose-s's; under its own head AP 0.700 (COCO val2017, annotated boxes)",
    ]


def test_the_listing():
    assert fetch.listing().splitlines()[1].split() == (
        [
            "rtmpose-m-coco",
            "256x192",
            "AP",
            "0.746",
            "(COCO",
            "val2017,",
            "boxes",
            "of",
            "a",
            "detector,",
            "flip",
            "averaging)",
        ]
    )


@pytest.mark.parametrize(
    "mirror", ["ftp://example.org", "example.org", "http://", "file:///tmp", "http://[::1", "http://a]b"]
)
def test_a_mirror_is_a_web_address(mirror):
    message = refusal(fetch.teacher, "rtmpose-m-coco", mirror=mirror)
    assert message == f"--mirror: expected an address like https://example.org/files, found {mirror!r}"


def test_a_mirror_may_have_a_path(site, tmp_path):
    site.files = {"/copies/of" + path: content for path, content in SERVED.items()}
    fetch.teacher("rtmpose-m-coco", mirror=site.address + "/copies/of/", say=lambda line: None)
    assert files(tmp_path) == {f"data/published/{FILE}": WEIGHTS}


def test_without_network_the_address_and_the_place_are_said(monkeypatch):
    def no_network(*_, **__):
        raise module.requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(module.requests, "get", no_network)
    assert refusal(fetch.teacher, "rtmpose-m-coco", say=lambda line: None) == (
        f"{FILE}: weights.invalid: cannot be reached: fetch it by hand and put it at data/published/{FILE}, "
        f"then run this again: https://weights.invalid/mmpose/v1/{FILE}"
    )


def test_coco_where_the_profile_expects_it(site, tmp_path):
    said = get_data(site, "coco")
    assert files(tmp_path / "data") == {
        "coco/annotations/train.json": b'"train"',
        "coco/annotations/val.json": b'"val"',
        "coco/val2017/1.jpg": b"one",
        "coco/val2017.fetched": b'{"archive": "val2017.zip", "files": 1}\n',
    }
    assert said[0] == "licence: terms of COCO"
    assert "data/coco/val2017: 1 files from val2017.zip" in said
    assert "data/downloads/val2017.zip: removed, since it is unpacked (--keep keeps it)" in said
    assert said[-1] == "next: pipeline prepare --dataset coco"


def test_mpii_where_the_profile_expects_it(site, tmp_path):
    get_data(site, "mpii")
    assert files(tmp_path / "data") == {
        "mpii/annotations/mpii_train.json": b"[]",
        "mpii/annotations/mpii_gt_val.mat": b"mat",
        "mpii/images/7.jpg": b"seven",
        "mpii/images/8.jpg": b"eight",
        "mpii/images.fetched": b'{"archive": "pictures.tar.gz", "files": 2}\n',
    }


def test_archives_can_be_kept(site, tmp_path):
    get_data(site, "coco", keep=True)
    assert sorted(files(tmp_path / "data/downloads")) == ["coco.zip", "val2017.zip"]


def test_a_second_run_asks_for_nothing(site, tmp_path):
    get_data(site, "coco")
    before, asked = files(tmp_path), len(site.asked)
    said = get_data(site, "coco")
    assert said[1:3] == [
        "data/coco/annotations/train.json, data/coco/annotations/val.json: there already",
        "data/coco/val2017: there already",
    ]
    assert (files(tmp_path), len(site.asked)) == (before, asked)


def test_an_archive_put_there_by_hand_is_unpacked_without_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(module.requests, "get", pytest.fail)
    downloads = tmp_path / "data/downloads"
    downloads.mkdir(parents=True)
    (downloads / "coco.zip").write_bytes(COCO_ANNOTATIONS)
    (downloads / "val2017.zip").write_bytes(SERVED["/zips/val2017.zip"])
    fetch.data("coco", say=lambda line: None)
    assert (tmp_path / "data/coco/val2017/1.jpg").read_bytes() == b"one"


def test_another_file_by_hand_is_not_unpacked(site, tmp_path):
    (tmp_path / "data/downloads").mkdir(parents=True)
    (tmp_path / "data/downloads/val2017.zip").write_bytes(COCO_ANNOTATIONS)
    assert "data/downloads/val2017.zip: not the published file" in refusal(get_data, site, "coco")
    assert not (tmp_path / "data/coco/val2017").exists()


def test_own_files_beside_the_annotations_stay(site, tmp_path):
    annotations = tmp_path / "data/coco/annotations"
    annotations.mkdir(parents=True)
    (annotations / "detections.json").write_bytes(b"mine")
    (annotations / "val.json").write_bytes(b"mine")
    get_data(site, "coco")
    assert files(annotations) == {"detections.json": b"mine", "val.json": b"mine", "train.json": b'"train"'}


def test_a_kill_while_unpacking_leaves_no_half_folder(site, tmp_path, monkeypatch):
    def killed(archive, places, advance):
        first = next(iter(places.values()))
        first.parent.mkdir(parents=True)
        first.write_bytes(b"ha")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "unpack", killed)
        with pytest.raises(KeyboardInterrupt):
            get_data(site, "mpii")
    assert not (tmp_path / "data/mpii").exists() or not list((tmp_path / "data/mpii").iterdir())
    asked = len(site.asked)
    get_data(site, "mpii")
    assert len(site.asked) == asked + 1  # the pictures; the annotations' archive was there
    assert sorted(files(tmp_path / "data")) == [
        "mpii/annotations/mpii_gt_val.mat",
        "mpii/annotations/mpii_train.json",
        "mpii/images.fetched",
        "mpii/images/7.jpg",
        "mpii/images/8.jpg",
    ]


@pytest.mark.parametrize("fails", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_what_was_unpacked_before_an_error_is_removed(site, tmp_path, monkeypatch, fails):
    def failing(archive, places, advance):
        first = next(iter(places.values()))
        first.parent.mkdir(parents=True)
        first.write_bytes(b"half")
        raise fails

    monkeypatch.setattr(fetch, "unpack", failing)
    with pytest.raises(type(fails)):
        get_data(site, "coco")
    assert list((tmp_path / "data/coco").iterdir()) == []


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["sync", "rename"])
def test_a_kill_at_the_end_of_unpacking_is_made_good_by_the_next_run(site, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        patch.setattr(fetch.os, "sync", killed) if step == "sync" else patch.setattr(fetch.Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            get_data(site, "mpii")
    assert not (tmp_path / "data/mpii/images").exists()
    said = get_data(site, "mpii")
    assert "data/mpii/images: 2 files from pictures.tar.gz" in said
    assert sorted(files(tmp_path / "data/mpii/images")) == ["7.jpg", "8.jpg"]


IMAGES, MARKER = "data/mpii/images", "data/mpii/images.fetched"


def own(tmp_path, *names: str) -> None:
    """Files that somebody put where pictures belong."""
    for name in names:
        (tmp_path / IMAGES / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / IMAGES / name).write_bytes(b"mine")


@pytest.mark.parametrize(
    ("names", "marker", "found"),
    [
        ((".DS_Store",), None, "1 file"),
        (("7.jpg", "8.jpg", "more/9.jpg"), None, "3 files"),
        (("7.jpg",), '{"archive": "pictures.tar.gz", "files": 2}', "1 file of the 2 that pictures.tar.gz brought"),
        (("7.jpg", "8.jpg"), '{"archive": "other.zip", "files": 2}', "2 files"),
        (("7.jpg", "8.jpg"), '{"archive": "pictures.tar.gz", "fi', "2 files"),
        (("7.jpg", "8.jpg"), '["pictures.tar.gz"]', "2 files"),
    ],
    ids=["system", "by hand", "some removed", "of another", "cut", "no mapping"],
)
def test_pictures_that_nobody_vouches_for_are_said_before_anything_is_downloaded(site, tmp_path, names, marker, found):
    own(tmp_path, *names)
    if marker:
        (tmp_path / MARKER).write_text(marker)
    assert refusal(get_data, site, "mpii") == (
        f"{IMAGES}: found {found}, not known to be all of pictures.tar.gz: if they are, make an empty file {MARKER} to say so; "
        "if not, move the folder away; then run this again"
    )
    assert site.asked == []
    assert files(tmp_path / IMAGES) == dict.fromkeys(names, b"mine")


def test_pictures_that_their_owner_vouches_for_are_used_as_they_are(site, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data/mpii").mkdir(parents=True)
    (tmp_path / IMAGES).symlink_to(tmp_path / "disk")
    own(tmp_path, "7.jpg")
    (tmp_path / MARKER).touch()
    assert f"{IMAGES}: there already" in get_data(site, "mpii")
    assert [path for path, _ in site.asked] == ["/mmpose/datasets/mpii.tar"]
    assert files(tmp_path / IMAGES) == {"7.jpg": b"mine"}


@pytest.mark.parametrize("empty", [True, False])
def test_a_marker_without_pictures_says_nothing(site, tmp_path, empty):
    get_data(site, "mpii")
    fetch.shutil.rmtree(tmp_path / IMAGES)
    if empty:
        (tmp_path / IMAGES).mkdir()
    assert f"{IMAGES}: 2 files from pictures.tar.gz" in get_data(site, "mpii")


@pytest.mark.parametrize(
    ("place", "make", "told"),
    [
        (IMAGES, lambda path: path.symlink_to(fetch.Path.cwd() / "empty"), "found a link to no folder or an empty one"),
        (
            IMAGES,
            lambda path: path.symlink_to("nowhere"),
            "expected a folder, found a link to no folder or an empty one",
        ),
        (
            IMAGES,
            lambda path: path.touch(),
            "expected a folder, found a file: remove or rename it, then run this again",
        ),
        ("data/mpii", lambda path: path.touch(), "expected a folder, found a file"),
        ("data/mpii", lambda path: path.symlink_to("nowhere"), "expected a folder, found a link that leads nowhere"),
        ("data/downloads", lambda path: path.touch(), "expected a folder, found a file"),
        ("data/mpii/annotations", lambda path: path.touch(), "expected a folder, found a file"),
        ("data/mpii/annotations/mpii_gt_val.mat", lambda path: path.mkdir(), "expected a file, found a folder"),
        ("data/downloads/mpii.tar", lambda path: path.mkdir(), "expected a file, found a folder"),
    ],
)
def test_a_place_that_is_taken_is_said_before_anything_is_downloaded(site, tmp_path, place, make, told):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    make(tmp_path / place)
    message = refusal(get_data, site, "mpii")
    assert message.startswith(f"{place}: ") and told in message
    assert site.asked == []


def test_a_folder_where_the_checkpoint_belongs(site, tmp_path):
    (tmp_path / "data/published" / FILE).mkdir(parents=True)
    assert refusal(get_teacher, site) == (
        f"data/published/{FILE}: expected a file, found a folder: remove or rename it, then run this again"
    )
    fetch.shutil.rmtree(tmp_path / "data/published")
    (tmp_path / "data/published").touch()
    assert refusal(get_teacher, site).startswith("data/published: expected a folder, found a file")
    assert site.asked == []


def test_annotations_may_lie_on_another_disk(site, tmp_path, monkeypatch):
    """What is unpacked lies beside where it will be: nothing can be renamed from one disk to another."""
    (tmp_path / "disk/annotations").mkdir(parents=True)
    (tmp_path / "data/mpii").mkdir(parents=True)
    (tmp_path / "data/mpii/annotations").symlink_to(tmp_path / "disk/annotations")
    written = []
    real = fetch.unpack
    monkeypatch.setattr(
        fetch, "unpack", lambda file, places, bar: [written.extend(places.values()), real(file, places, bar)]
    )
    get_data(site, "mpii")
    assert {path.parent for path in written} == {
        tmp_path / "disk/annotations.unpacking",
        tmp_path / "data/mpii/images.unpacking",
    }
    assert sorted(files(tmp_path / "disk")) == ["annotations/mpii_gt_val.mat", "annotations/mpii_train.json"]


@pytest.mark.parametrize("content", [b'[{"joints": [[1, 2', b'["\xff"]', b"[" * 100_000, b""])
def test_annotations_that_do_not_parse_are_not_put_in_place(site, tmp_path, content):
    """A plain tar has no checksum of what is inside: the archive is read without complaint."""
    site.files["/mmpose/datasets/mpii.tar"] = tarred({"mpii_gt_val.mat": b"mat", "mpii_train.json": content}, "w")
    message = refusal(get_data, site, "mpii")
    assert message.startswith("data/downloads/mpii.tar: damaged: its mpii_train.json is no JSON (")
    assert message.endswith("): remove it, then run this again")
    assert list((tmp_path / "data/mpii").iterdir()) == []


def test_an_archive_with_tricks_leaves_nothing_behind(site, tmp_path):
    site.files["/mpii/pictures.tar.gz"] = tarred({"images/7.jpg": b"seven", "images/../../../outside": b"x"}, "w:gz")
    assert "leads out of the folder" in refusal(get_data, site, "mpii")
    assert not (tmp_path / "data/mpii/images").exists()
    assert not list(tmp_path.rglob("outside")) and not list(tmp_path.rglob("7.jpg"))


def test_a_bomb_is_measured_against_the_disk(site, tmp_path, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr(fetch, "download", lambda address, file, *_, **__: file.write_bytes(COCO_ANNOTATIONS))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: Usage)
    assert "free some disk" in refusal(get_data, site, "coco")
    assert not (tmp_path / "data/coco/annotations").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"elsewhere/1.jpg": b""}, "expected a folder `images` inside, found 'elsewhere/1.jpg'"),
        ({}, "found nothing"),
        ({"a/images/1.jpg": b"", "b/images/1.jpg": b""}, "found several with the same files"),
    ],
)
def test_pictures_that_are_not_where_they_should_be(site, content, words):
    site.files["/mpii/pictures.tar.gz"] = tarred(content, "w:gz")
    assert words in refusal(get_data, site, "mpii")


@pytest.mark.parametrize(
    ("names", "count"), [(["mpii_train.json"], 0), (["a/mpii_gt_val.mat", "b/mpii_gt_val.mat"], 2)]
)
def test_annotations_that_are_not_inside(site, names, count):
    site.files["/mmpose/datasets/mpii.tar"] = tarred({"mpii_train.json": b""} | dict.fromkeys(names, b""), "w")
    assert f"expected one mpii_gt_val.mat inside, found {count}" in refusal(get_data, site, "mpii")


def test_halpe_is_fetched_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(module.requests, "get", pytest.fail)
    assert refusal(fetch.data, "halpe", say=lambda line: None) == (
        "halpe: nothing to download without asking its makers: get halpe_val_v1.json through "
        "https://github.com/Fang-Haoshu/Halpe-FullBody, put it at data/halpe/annotations/halpe_val_v1.json; "
        "its validation pictures are COCO's: `pipeline data fetch coco`"
    )
    place = tmp_path / "data/halpe/annotations/halpe_val_v1.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}")
    said: list[str] = []
    fetch.data("halpe", say=said.append)
    assert said[-1] == "next: pipeline prepare --dataset halpe"


def test_two_at_once(site, tmp_path):
    place = tmp_path / "data/published" / FILE
    with fetch.exclusive(place):
        assert "is being written by" in refusal(get_teacher, site)
    assert site.asked == []


def test_importing_asks_no_server_and_listing_neither(monkeypatch):
    monkeypatch.setattr(module.requests, "get", pytest.fail)
    assert fetch.listing()
