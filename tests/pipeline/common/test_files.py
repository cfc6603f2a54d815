"""Files and folders that are old or new, never half, wherever a process dies."""

import os

import pytest

from pipeline.common.files import replace_folder, write_atomically, write_together


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_write_atomically_leaves_old_or_new(tmp_path, monkeypatch, step):
    path = tmp_path / "deep/file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, killed)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["one", "two"])
def test_files_that_belong_together_are_all_new_or_all_old(tmp_path, failing):
    """One of them cannot be replaced, because it is a folder."""
    (tmp_path / failing).mkdir()
    contents = {tmp_path / "one": b"1", tmp_path / "two": b"2"}
    with pytest.raises(IsADirectoryError, match=failing):
        write_together(contents)
    assert [path.name for path in tmp_path.iterdir()] == [failing]
    (tmp_path / failing).rmdir()
    write_together(contents)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_replace_folder_takes_the_place_and_leaves_nothing_beside_it(tmp_path):
    aside, place = tmp_path / "place.partial", tmp_path / "place"
    for content in (b"first", b"second"):
        aside.mkdir()
        (aside / "file").write_bytes(content)
        replace_folder(aside, place)
        assert (place / "file").read_bytes() == content
        assert [p.name for p in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("there", [True, False])
def test_a_place_that_is_a_link_stays_one(tmp_path, there):
    aside, place, disk = tmp_path / "place.partial", tmp_path / "place", tmp_path / "disk/place"
    if there:
        disk.mkdir(parents=True)
        (disk / "old").touch()
    place.symlink_to(disk)
    for content in (b"first", b"second"):
        aside.mkdir()
        (aside / "file").write_bytes(content)
        replace_folder(aside, place)
        assert place.is_symlink() and (disk / "file").read_bytes() == content
        assert {path.name for path in tmp_path.iterdir()} == {"place", "disk"}
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["place"]
    assert not (disk / "old").exists()
