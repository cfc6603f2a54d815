"""Archives from outside: good ones come out byte for byte, path tricks and damage are refused before anything is written."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import archives
from pipeline.archives import look_through, unpack
from pipeline.errors import UserError

ROOM = 10**9
PICTURE = np.random.default_rng(0).bytes(70_000)
GOOD = {"images/1.jpg": PICTURE, "images/2.jpg": b"x" * 512, "images/deep/3.jpg": b"", "notes.txt": b"hello"}
FORMATS = ("zip", "tar", "tar.gz")


def make(folder: Path, kind: str, entries: list[tuple[str, bytes]]) -> Path:
    """An archive of these files, in this order; a name that ends in / is a folder."""
    path = folder / f"made.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)  # that a name is there twice is what we want
            for name, content in entries:
                archive.writestr(zipfile.ZipInfo(name), content)
        return path
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(content))
    return path


def make_tar(folder: Path, change: Callable[[tarfile.TarInfo], object]) -> Path:
    """A good file, then a member that `change` has made into something else."""
    path = folder / "made.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("good.txt"))
        info = tarfile.TarInfo("bad")
        change(info)
        tar.addfile(info)
    return path


def make_zip(folder: Path, mode: int) -> Path:
    """A good file, then an entry with this mode in its attributes."""
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", b"")
        info = zipfile.ZipInfo("bad")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return path


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_good_archives_come_out_as_they_went_in(tmp_path, kind):
    path = make(tmp_path, kind, [("./", b""), ("images/", b""), *GOOD.items()])
    seen: list[int] = []
    sizes = look_through(path, ROOM, seen.append)
    assert sizes == {name: len(content) for name, content in GOOD.items()}
    assert sum(seen) == 70_517
    written: list[int] = []
    unpack(path, {name: tmp_path / "out" / name for name in sizes}, written.append)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in sizes} == GOOD
    assert sum(written) == 70_517


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_not_asked_for_is_not_written(tmp_path, kind):
    path = make(tmp_path, kind, list(GOOD.items()))
    unpack(path, {"images/2.jpg": tmp_path / "out/two"})
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["two"]
    assert (tmp_path / "out/two").read_bytes() == b"x" * 512


def test_the_first_bytes_say_what_an_archive_is_not_its_name(tmp_path):
    path = make(tmp_path, "tar.gz", list(GOOD.items())).rename(tmp_path / "annotations.tar")
    assert list(look_through(path, ROOM)) == list(GOOD)
    page = tmp_path / "page.zip"
    page.write_bytes(b"<!DOCTYPE html><html>log in first</html>")
    assert "neither a zip nor a tar archive: it begins with b'<!DOCTYPE html><'" in refusal(look_through, page, ROOM)
    page.write_bytes(b"")
    assert "neither a zip nor a tar archive" in refusal(look_through, page, ROOM)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside", "leads out of the folder"),
        ("images/../../outside", "leads out of the folder"),
        ("/etc/passwd", "absolute path"),
        ("//host/share", "absolute path"),
        ("C:/windows", "absolute path or one of another system"),
        ("images\\..\\..\\outside", "absolute path or one of another system"),
        ("images/\x1b[2J.jpg", "no readable name"),
        ("images/line\nbreak", "no readable name"),
        ("images/" + "x" * 256, "too long a name"),
        ("..", "leads out of the folder"),
        (".", "no readable name"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path, kind, name, why):
    path = make(tmp_path, kind, [("good.txt", b""), (name, b"bad")])
    message = refusal(look_through, path, ROOM)
    assert message.startswith(f"{path}: refused, nothing was unpacked: ") and why in message
    assert message.isprintable()


@pytest.mark.parametrize("shown", ["good.txt", ""])
def test_a_zero_byte_in_a_name_does_not_hide_the_rest(tmp_path, shown):
    path = make(tmp_path, "zip", [(f"{shown}@../evil", b"")])
    path.write_bytes(path.read_bytes().replace(f"{shown}@..".encode(), f"{shown}\0..".encode()))
    assert f"{shown}\\x00../evil" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize(
    ("kind", "type_", "link"),
    [
        ("symbolic link", tarfile.SYMTYPE, "/etc"),
        ("symbolic link", tarfile.SYMTYPE, "good.txt"),
        ("hard link", tarfile.LNKTYPE, "/etc/passwd"),
        ("hard link", tarfile.LNKTYPE, "good.txt"),
        ("special file", tarfile.CHRTYPE, ""),
        ("special file", tarfile.BLKTYPE, ""),
        ("special file", tarfile.FIFOTYPE, ""),
        ("special file", b"Z", ""),
    ],
)
def test_a_tar_holds_no_links_and_no_devices(tmp_path, kind, type_, link):
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = type_, link

    assert f"'bad' is a {kind}" in refusal(look_through, make_tar(tmp_path, change), ROOM)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFLNK | 0o777, "symbolic link"),
        (stat.S_IFCHR, "special file"),
        (stat.S_IFIFO, "special file"),
        (stat.S_IFSOCK, "special file"),
    ],
)
def test_a_zip_holds_no_links_and_no_devices(tmp_path, mode, kind):
    assert f"'bad' is a {kind}" in refusal(look_through, make_zip(tmp_path, mode), ROOM)


def test_mode_bits_stay_in_the_archive(tmp_path):
    path = make_zip(tmp_path, stat.S_IFREG | stat.S_ISUID | 0o777)
    unpack(path, dict.fromkeys(look_through(path, ROOM), None) | {"good.txt": tmp_path / "a", "bad": tmp_path / "b"})
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) & 0o4111 == 0


def test_an_encrypted_zip_is_refused(tmp_path):
    path = make(tmp_path, "zip", [("a.txt", b"text")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "'a.txt' is an encrypted file" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "names",
    [
        ["a/1.jpg", "a/1.jpg"],
        ["a/1.jpg", "./a//1.jpg"],
        ["a/1.jpg", "A/1.JPG"],
        ["a/\u00e9.jpg", "a/e\u0301.jpg"],
    ],
)
def test_one_path_twice(tmp_path, kind, names):
    path = make(tmp_path, kind, [(name, b"") for name in names])
    assert "is there twice" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("names", [["a", "a/1.jpg"], ["a/1.jpg", "A"], ["a/b/1.jpg", "a"], ["a", "a/"]])
def test_a_file_and_a_folder_at_once(tmp_path, kind, names):
    path = make(tmp_path, kind, [(name, b"") for name in names])
    assert "a file and a folder at once" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_bomb_is_refused_by_what_it_announces(tmp_path, kind):
    path = make(tmp_path, kind, [("small", b""), ("zeros", bytes(10**6)), ("after", b"1")])
    assert "0.0 GB free" in refusal(look_through, path, 10**6)
    assert sum(look_through(path, 10**6 + 1).values()) == 10**6 + 1


def test_a_tar_of_a_few_bytes_that_announces_terabytes(tmp_path):
    header = tarfile.TarInfo("huge")
    header.size = 10**13
    path = tmp_path / "made.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
    assert "unpacks to 10000.0 GB or more" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize("type_", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [2 * archives.LARGEST_HEADER, 10**13, -1024])
def test_a_header_record_of_any_length_is_not_read_into_memory(tmp_path, type_, size):
    header = tarfile.TarInfo("name")
    header.type, header.size = type_, size
    path = tmp_path / "made.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    assert "a header record of" in refusal(look_through, path, ROOM)


def test_a_size_below_zero_is_no_endless_loop(tmp_path):
    header = tarfile.TarInfo("name")
    header.size = -1024
    path = tmp_path / "made.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    assert "size below zero" in refusal(look_through, path, ROOM)


def test_a_sparse_file_is_refused(tmp_path):
    path = tmp_path / "made.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("holes")
        info.pax_headers = {"GNU.sparse.map": "0,5", "GNU.sparse.size": "1000000"}
        tar.addfile(info)
    assert "'holes' is a sparse file" in refusal(look_through, path, ROOM)


def test_more_entries_than_any_dataset_has(tmp_path, monkeypatch):
    path = make(tmp_path, "zip", list(GOOD.items()))
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    assert "'notes.txt' is entry 4" in refusal(look_through, path, ROOM)


def test_a_zip_that_announces_more_than_it_holds(tmp_path):
    path = make(tmp_path, "zip", [("a.txt", b"text")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 24] = 5  # uncompressed size in the central directory
    path.write_bytes(data)
    assert look_through(path, ROOM) == {"a.txt": 5}
    assert "4 bytes where 5 were announced" in refusal(unpack, path, {"a.txt": tmp_path / "out"})


def test_the_stream_for_tarfile_never_goes_back():
    stream = archives.Forward(io.BytesIO(b"0123456789"))
    assert (stream.seek(4), stream.take(2), stream.tell(), stream.seek(6)) == (4, b"45", 6, 6)
    with pytest.raises(ValueError, match="below zero"):
        stream.seek(5)


def test_long_and_foreign_names_of_honest_tars_are_read(tmp_path):
    name = "/".join(["folder" * 10] * 5) + "/\u00e9.jpg"
    for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / "made.tar"
        with tarfile.open(path, "w", format=layout) as tar:
            tar.addfile(tarfile.TarInfo(name))
        assert look_through(path, ROOM) == {name: 0}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, kind):
    path = make(tmp_path, kind, list(GOOD.items()))
    whole = path.read_bytes()
    # Tar: four headers, 70,000, 512 and 5 bytes in blocks of 512; behind them only the end mark and padding.
    end = 73_217 if kind == "tar" else len(whole)
    for length in [*range(512, end, 997), end - 1]:
        path.write_bytes(whole[:length])
        message = refusal(look_through, path, ROOM)
        assert "damaged, or no archive" in message, length


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    path = make(tmp_path, "tar", [("1.jpg", b"1"), ("2.jpg", b"2"), ("3.jpg", b"3")])
    data = bytearray(path.read_bytes())
    data[1024 + 100] ^= 1
    path.write_bytes(data)
    assert "a damaged header" in refusal(look_through, path, ROOM)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_damaged_content_is_found_by_the_checksums(tmp_path, kind):
    path = make(tmp_path, kind, list(GOOD.items()))
    data = bytearray(path.read_bytes())
    data[20_000] ^= 1
    path.write_bytes(data)
    places = {name: tmp_path / "out" / name for name in GOOD}

    def both() -> None:
        look_through(path, ROOM)
        unpack(path, places)

    assert "damaged, or no archive" in refusal(both)


def test_what_is_not_inside_is_said(tmp_path):
    path = make(tmp_path, "zip", list(GOOD.items()))
    assert "expected nothing.json inside" in refusal(unpack, path, {"nothing.json": tmp_path / "out"})


def test_random_damage_is_an_error_of_ours_or_harmless(tmp_path):
    """300 single-byte changes: never another exception, and what comes out of a zip or gzip is what went in."""
    rng = np.random.default_rng(1)
    for kind in FORMATS:
        path = make(tmp_path, kind, [("a/1.jpg", PICTURE[:600]), ("a/2.jpg", b"y" * 40)])
        whole = path.read_bytes()
        for turn in range(100):
            data = bytearray(whole)
            data[rng.integers(min(len(whole), 3000))] = rng.integers(256)
            path.write_bytes(data)
            out = tmp_path / f"{kind}-{turn}"
            try:
                sizes = look_through(path, ROOM)
                unpack(path, {name: out / str(number) for number, name in enumerate(sizes)})
            except UserError:
                continue
            if kind != "tar":
                assert [file.read_bytes() for file in sorted(out.iterdir())] == [PICTURE[:600], b"y" * 40]


def test_a_zip_whose_entry_begins_before_it_is_damaged(tmp_path: Path) -> None:
    path = make(tmp_path, "zip", [("a.txt", b"hello")])
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")  # the end record's place of the directory, moved on by 4096: all others move back
    data[end + 16 : end + 20] = (int.from_bytes(data[end + 16 : end + 20], "little") + 4096).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged, or no archive"):
        look_through(path, ROOM)


def test_nothing_is_unpacked_from_an_archive_of_nothing(tmp_path: Path) -> None:
    for kind in ("zip", "tar.gz"):
        unpack(make(tmp_path, kind, []), {})
