"""Archives from outside: good ones come out byte for byte; path tricks, bombs and damage are refused before anything is written."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.common.errors import UserError
from stages.fetch import archives
from stages.fetch.archives import list_files, unpack

FREE = 10**9
IMAGE = np.random.default_rng(0).bytes(70_000)
GOOD = {"images/1.jpg": IMAGE, "images/2.jpg": b"x" * 512, "images/deep/3.jpg": b"", "notes.txt": b"hello"}
FORMATS = ("zip", "tar", "tar.gz")
each_format = pytest.mark.parametrize("form", FORMATS)


def make(folder: Path, form: str, entries: list[tuple[str, bytes]]) -> Path:
    """An archive of these files, in this order; a name that ends in / is a folder."""
    path = folder / f"made.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)  # some tests want a name twice
            for name, content in entries:
                archive.writestr(zipfile.ZipInfo(name), content)
        return path
    with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(content))
    return path


def make_tar(folder: Path, change: Callable[[tarfile.TarInfo], object]) -> Path:
    """One header that `change` has made into something else, then zeros."""
    path, info = folder / "made.tar", tarfile.TarInfo("bad")
    change(info)
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    return path


def make_zip(folder: Path, mode: int) -> Path:
    """A good file, then an entry with this mode in its attributes."""
    path, info = folder / "made.zip", zipfile.ZipInfo("bad")
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", b"")
        archive.writestr(info, "/etc/passwd")
    return path


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert str(error.value).isprintable()
    return str(error.value)


def list_and_unpack(path: Path) -> None:
    unpack(path, {name: path.parent / "out" / name for name in list_files(path, FREE)})


@each_format
def test_good_archives_come_out_as_they_went_in(tmp_path, form):
    path = make(tmp_path, form, [("./", b""), ("images/", b""), *((f"./{name}", data) for name, data in GOOD.items())])
    listed: list[int] = []
    sizes = list_files(path, FREE, listed.append)
    assert sizes == {name: len(content) for name, content in GOOD.items()}
    written: list[int] = []
    unpack(path, {name: tmp_path / "out" / name for name in sizes}, written.append)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in sizes} == GOOD
    assert sum(listed) == sum(written) == 70_517
    unpack(path, {"images/2.jpg": tmp_path / "some/two"})
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "some").iterdir()] == [("two", b"x" * 512)]


def test_the_first_bytes_decide_what_an_archive_is_not_its_name(tmp_path):
    path = make(tmp_path, "tar.gz", list(GOOD.items())).rename(tmp_path / "annotations.tar")
    assert list(list_files(path, FREE)) == list(GOOD)
    page = tmp_path / "page.zip"
    page.write_bytes(b"<!DOCTYPE html><html>log in first</html>")
    assert "neither a zip nor a tar archive: it begins with b'<!DOCTYPE html><'" in refusal(list_files, page, FREE)
    page.write_bytes(b"")
    assert "neither a zip nor a tar archive" in refusal(list_files, page, FREE)


@each_format
@pytest.mark.parametrize(
    "name",
    [
        *("../outside", "images/../../outside", "/etc/passwd", "//host/share", "C:/windows"),
        *("images\\..\\..\\outside", "..", "../\x1b[2J\n.jpg"),
    ],
)
def test_names_that_lead_out_of_the_folder(tmp_path, form, name):
    path = make(tmp_path, form, [("good.txt", b""), (name, b"bad")])
    message = refusal(list_files, path, FREE)
    assert message.startswith(f"{path}: refused, nothing was unpacked: ") and "leads out of the folder" in message


def test_names_of_honest_tars_are_read(tmp_path):
    name = "/".join(["folder" * 10] * 5) + "/\u00e9..jpg"
    for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "made.tar", "w", format=layout) as tar:
            tar.addfile(tarfile.TarInfo(name))
        assert list_files(tmp_path / "made.tar", FREE) == {name: 0}


@pytest.mark.parametrize("link", ["/etc/passwd", "good.txt"])
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_a_tar_holds_no_links_and_no_devices(tmp_path, kind, link):
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, link

    path = make_tar(tmp_path, change)
    assert "'bad' is a link, a device or another special file" in refusal(list_files, path, FREE)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_zip_holds_no_links_and_no_devices(tmp_path, mode):
    assert "'bad' is a link, a device or another" in refusal(list_files, make_zip(tmp_path, mode), FREE)


def test_mode_bits_stay_in_the_archive(tmp_path):
    list_and_unpack(make_zip(tmp_path, stat.S_IFREG | stat.S_ISUID | 0o777))
    assert stat.S_IMODE((tmp_path / "out/bad").stat().st_mode) & 0o4111 == 0


@each_format
@pytest.mark.parametrize("names", [["a/1.jpg", "./a//1.jpg"], ["a", "a/1.jpg"], ["a/b/1.jpg", "a"]])
def test_one_path_twice(tmp_path, form, names):
    path = make(tmp_path, form, [(name, b"") for name in names])
    assert "damaged, or no archive" in refusal(list_and_unpack, path)


@each_format
def test_a_bomb_is_refused_by_what_it_announces(tmp_path, form, monkeypatch):
    path = make(tmp_path, form, [("small", b""), ("zeros", bytes(10**6)), ("after", b"1")])
    assert "0.0 GB free" in refusal(list_files, path, 10**6)
    assert sum(list_files(path, 10**6 + 1).values()) == 10**6 + 1
    monkeypatch.setattr(archives, "MOST_ENTRIES", 2)
    assert "entry 3 of 1 bytes" in refusal(list_files, path, FREE)


def test_a_tar_of_a_few_bytes_that_announces_terabytes(tmp_path):
    header = tarfile.TarInfo("huge")
    header.size = 10**13
    path = tmp_path / "made.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
    assert "unpacks to 10000.0 GB or more" in refusal(list_files, path, FREE)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (tarfile.GNUTYPE_LONGNAME, 2 * archives.LARGEST_HEADER),
        (tarfile.XHDTYPE, 10**13),
        (tarfile.XGLTYPE, -1024),
        (tarfile.REGTYPE, -1024),
    ],
)
def test_a_header_of_any_length_takes_no_memory_and_ends(tmp_path, kind, size):
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.size = kind, size

    assert f"a header record of {size} bytes" in refusal(list_files, make_tar(tmp_path, change), FREE)


def test_a_size_below_zero_in_a_pax_header_ends(tmp_path):
    path, info = tmp_path / "made.tar", tarfile.TarInfo("name")
    info.pax_headers = {"size": "-1024"}
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 16))
    assert "entry 1 of -1,024 bytes" in refusal(list_files, path, FREE)


@each_format
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, form):
    path = make(tmp_path, form, list(GOOD.items()))
    content = path.read_bytes()
    # Tar: four headers, 70,000, 512 and 5 bytes in blocks of 512; behind them only the end mark and padding.
    end = 73_217 if form == "tar" else len(content)
    for length in [*range(512, end, 997), end - 1]:
        path.write_bytes(content[:length])
        assert "damaged, or no archive" in refusal(list_files, path, FREE), length


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    path = make(tmp_path, "tar", [("1.jpg", b"1"), ("2.jpg", b"2"), ("3.jpg", b"3")])
    data = bytearray(path.read_bytes())
    data[1024 + 100] ^= 1
    path.write_bytes(data)
    assert "damaged, or no archive (bad checksum)" in refusal(list_files, path, FREE)


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_damaged_content_is_found_by_the_checksums(tmp_path, form):
    path = make(tmp_path, form, list(GOOD.items()))
    data = bytearray(path.read_bytes())
    data[20_000] ^= 1
    path.write_bytes(data)
    assert "damaged, or no archive" in refusal(list_and_unpack, path)


def test_a_zip_that_cannot_be_unpacked(tmp_path):
    """Encrypted, or with an entry that begins before the file."""
    path = make(tmp_path, "zip", [("a.txt", b"text")])
    content = path.read_bytes()
    flags, end = content.index(b"PK\x01\x02") + 8, content.rindex(b"PK\x05\x06") + 16
    for at, value in ((flags, 1), (end + 1, content[end + 1] + 16)):
        path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
        assert "damaged, or no archive" in refusal(list_and_unpack, path)


def test_random_damage_is_an_error_of_ours_or_harmless(tmp_path):
    """100 changed bytes a format: never another exception, and what comes out of a zip or gzip is what went in."""
    rng = np.random.default_rng(1)
    for form in FORMATS:
        path = make(tmp_path, form, [("a/1.jpg", IMAGE[:600]), ("a/2.jpg", b"y" * 40)])
        content = path.read_bytes()
        for turn in range(100):
            data = bytearray(content)
            data[rng.integers(min(len(content), 3000))] = rng.integers(256)
            path.write_bytes(data)
            out = tmp_path / f"{form}-{turn}"
            try:
                sizes = list_files(path, FREE)
                unpack(path, {name: out / str(number) for number, name in enumerate(sizes)})
            except UserError:
                continue
            if form != "tar":
                assert [file.read_bytes() for file in sorted(out.iterdir())] == [IMAGE[:600], b"y" * 40]


def test_nothing_is_unpacked_from_an_archive_of_nothing(tmp_path):
    for form in ("zip", "tar.gz"):
        list_and_unpack(make(tmp_path, form, []))
