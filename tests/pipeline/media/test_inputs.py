"""Which files a user means, in what order, and under what names they are drawn."""

import os
from pathlib import Path

import pytest

from pipeline.media.inputs import find_media


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "a/x.jpg", "a/x.png", "a/x-2.png", "a/X.JPG", "a/b/x.jpg", "a/c.mp4", "a/c.AVI", "a/notes.txt", "a/.hidden.jpg",
        "a/.cache/x.jpg", "a/out/x.jpg", "b/x.jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_sorted_and_searched_to_the_bottom(folder: Path) -> None:
    warned: list[str] = []
    base, found = find_media([Path("a")], [Path("a/out")], warned.append)
    assert base == folder / "a"
    assert [str(i.name) for i in found] == ["X.JPG", "c.AVI", "c.mp4", "x-2.png", "x.jpg", "x.png", "b/x.jpg"]
    assert [i.is_video for i in found] == [False, True, True, False, False, False, False]
    assert warned == [f"{folder / 'a/notes.txt'}: by its suffix neither an image nor a video: left out"]


def test_no_two_are_drawn_to_one_file(folder: Path) -> None:
    """Not on disks either where case does not count."""
    _, found = find_media([Path("a")], [Path("a/out")], lambda line: None)
    drawn = [str(i.drawn_name) for i in found]
    assert drawn == ["X.jpg", "c.mp4", "c-2.mp4", "x-2.jpg", "x-3.jpg", "x-4.jpg", "b/x.jpg"]
    assert len({name.casefold() for name in drawn}) == len(drawn)


def test_case_does_not_tell_drawn_files_apart(folder: Path) -> None:
    _, found = find_media([Path("a/x.jpg"), Path("a/X.JPG")], [], lambda line: None)
    assert [str(i.drawn_name) for i in found] == ["x.jpg", "X-2.jpg"]


def test_names_are_relative_to_what_holds_them_all(folder: Path) -> None:
    base, found = find_media([Path("b/x.jpg"), Path("a/b"), folder / "a" / "b" / "x.jpg"], [], lambda line: None)
    assert base == folder
    assert [str(i.name) for i in found] == ["b/x.jpg", "a/b/x.jpg"]  # the third is the second again
    assert [i.path for i in found] == [folder / "b/x.jpg", folder / "a/b/x.jpg"]


def test_a_file_named_outright_is_tried_whatever_its_suffix(folder: Path) -> None:
    _, found = find_media([Path("a/notes.txt"), Path("a/.hidden.jpg")], [], lambda line: None)
    assert [str(i.drawn_name) for i in found] == ["notes.jpg", ".hidden.jpg"]


def test_what_is_not_there_is_named(folder: Path) -> None:
    (folder / "empty").mkdir()
    warned: list[str] = []
    assert find_media([Path("nobody.jpg"), Path("empty")], [], warned.append)[1] == []
    assert warned == [
        "nobody.jpg: expected an image, a video or a folder, found none",
        "empty: no image or video in this folder",
    ]


def test_a_folder_may_be_called_like_a_drawn_file(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    for name in ("x.png", "x.jpg/y.jpg"):
        (tmp_path / name).write_bytes(b"")
    _, found = find_media([tmp_path], [], lambda line: None)
    assert [str(i.drawn_name) for i in found] == ["x-2.jpg", "x.jpg/y.jpg"]


def test_bytes_that_are_no_unicode_are_spelt_out(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this disk takes Unicode names only")
    _, [found] = find_media([tmp_path], [], lambda line: None)
    assert (str(found.name), str(found.drawn_name)) == ("a\\udcff.png", "a\\udcff.jpg")
    assert found.path.exists()
