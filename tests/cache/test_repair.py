"""`verify_store` names what is wrong with a finished store, and the next run repairs that and nothing else."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cache.layout import metadata_documents
from cache.manifest import Problem
from cache.reader import verify_store
from cache.targets import open_targets
from cache.writer import open_for_writing
from pipeline.common.errors import UserError
from tests.cache.stores import LAYOUT, SEPARATE, fingerprint, write
from tests.fixtures import flip_bit, tree

HEATMAPS = [LAYOUT.shard_files(b)[0] for b in range(3)]
SCORES = [LAYOUT.shard_files(b)[2] for b in range(3)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished store."""
    place = tmp_path_factory.mktemp("whole") / "a.zarr"
    write(place)
    return place


@pytest.fixture
def path(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "a.zarr")


def flip(path):
    flip_bit(path / HEATMAPS[1])
    return [f"{HEATMAPS[1]}: damaged"], [1]


def cut_short(path):
    (path / SCORES[2]).write_bytes((path / SCORES[2]).read_bytes()[:-1])
    return [f"{SCORES[2]}: damaged"], [2]


def remove(path):
    (path / "done/c/0").unlink()
    return ["done/c/0: missing"], [0]


def swap(path):
    (path / HEATMAPS[0]).rename(path / "aside")
    (path / HEATMAPS[1]).rename(path / HEATMAPS[0])
    (path / "aside").rename(path / HEATMAPS[1])
    return [
        f"{HEATMAPS[0]}: swapped: holds the content of {HEATMAPS[1]}",
        f"{HEATMAPS[1]}: swapped: holds the content of {HEATMAPS[0]}",
    ], [0, 1]


def copy_over(path):
    shutil.copy(path / HEATMAPS[2], path / HEATMAPS[0])
    return [f"{HEATMAPS[0]}: swapped: holds the content of {HEATMAPS[2]}"], [0]


def foreign(path):
    (path / "heatmaps/c/9/0/0/0").mkdir(parents=True)
    (path / "heatmaps/c/9/0/0/0/0").write_bytes(b"what is this")
    (path / "notes.txt").write_text("mine")
    what = "foreign: not part of this store"
    return [f"heatmaps/c/9/0/0/0/0: {what}", f"notes.txt: {what}"], []


def array_metadata(path):
    (path / "heatmaps/zarr.json").write_text((path / "heatmaps/zarr.json").read_text().replace("uint8", "int8"))
    return ["heatmaps/zarr.json: damaged"], []


def group_metadata(path):
    (path / "zarr.json").write_text("{")
    return ["zarr.json: damaged"], []


def metadata_gone(path):
    (path / "zarr.json").unlink()
    (path / "peak/zarr.json").unlink()
    return ["zarr.json: missing", "peak/zarr.json: missing"], []


def much(path):
    for file in (*HEATMAPS, *SCORES):
        flip_bit(path / file)
    return [f"{file}: damaged" for b in range(3) for file in (HEATMAPS[b], SCORES[b])], [0, 1, 2]


@pytest.mark.parametrize(
    "spoil", [flip, cut_short, remove, swap, copy_over, foreign, array_metadata, group_metadata, metadata_gone, much]
)
def test_damage_is_named_and_only_its_shards_are_rebuilt(path, spoil):
    before = tree(path)
    lines, pending = spoil(path)
    times = {file: (path / file).stat().st_mtime_ns for file in before if (path / file).exists()}
    assert sorted(map(str, verify_store(path))) == sorted(lines)
    plan = open_for_writing(path, LAYOUT, fingerprint())
    assert plan.pending == pending
    assert plan.reason.startswith("repaired: ") and all(
        line in plan.reason for line in sorted(lines)[:1] if len(lines) < 6
    )
    assert write(path).startswith("resumed" if pending or lines else "complete")
    assert tree(path) == before
    assert verify_store(path) == []
    rewritten = {file for b in pending for file in LAYOUT.shard_files(b)} | {line.split(":")[0] for line in lines}
    # Manifest and metadata are written again on resuming, with the bytes they had; no other shard's data is.
    data = set(LAYOUT.files) - rewritten
    assert {file: (path / file).stat().st_mtime_ns for file in data} == {file: times[file] for file in data}


@pytest.mark.parametrize("axis", [0, 1], ids=["x", "y"])
def test_damaged_bins_are_named_and_rebuilt(tmp_path, axis):
    path = tmp_path / "bins.zarr"
    write(path, layout=SEPARATE)
    before = tree(path)
    shards = [SEPARATE.shard_files(b)[axis] for b in range(3)]
    flip_bit(path / shards[1])
    assert list(map(str, verify_store(path))) == [f"{'xy'[axis]}/c/1/0/0/0: damaged"]
    with pytest.raises(UserError, match=r"people 0-41 cannot be read .*: run `pipeline cache verify "):
        open_targets(path, "again").read(slice(0, 41))
    times = [(path / shard).stat().st_mtime_ns for shard in shards]
    plan = open_for_writing(path, SEPARATE, fingerprint(SEPARATE))
    assert (plan.pending, plan.reason) == ([1], f"repaired: {shards[1]}: damaged")
    write(path, layout=SEPARATE)
    assert tree(path) == before
    assert [(path / shard).stat().st_mtime_ns == time for shard, time in zip(shards, times, strict=True)] == [
        True,
        False,
        True,
    ]


def test_x_in_the_place_of_y_is_swapped(tmp_path):
    """With as many bins in both the shards have one shape: the manifest tells them apart."""
    layout = replace(SEPARATE, height=SEPARATE.width)
    path = tmp_path / "square.zarr"
    write(path, layout=layout)
    x, y = (path / file for file in layout.shard_files(0)[:2])
    aside = x.read_bytes()
    x.write_bytes(y.read_bytes())
    y.write_bytes(aside)
    assert sorted(map(str, verify_store(path))) == [
        "x/c/0/0/0/0: swapped: holds the content of y/c/0/0/0/0",
        "y/c/0/0/0/0: swapped: holds the content of x/c/0/0/0/0",
    ]


def test_the_reason_names_five_problems_and_counts_the_rest(path):
    much(path)
    reason = open_for_writing(path, LAYOUT, fingerprint()).reason
    assert reason.count("damaged") == 5 and reason.endswith(" and 1 more")


@pytest.mark.parametrize("killed_after", ["nothing", "files"])
def test_a_repair_that_was_killed_does_not_bless_a_swapped_shard(path, monkeypatch, killed_after):
    """A swapped shard passes its own checksum: until it is removed the manifest must stay."""
    before = tree(path)
    swap(path)

    class Killed(BaseException):
        pass

    unlink, calls = type(path).unlink, []

    def stop(self, missing_ok=False):
        calls.append(self)
        if len(calls) > (0 if killed_after == "nothing" else 5):
            raise Killed
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "unlink", stop)
        with pytest.raises(Killed):
            open_for_writing(path, LAYOUT, fingerprint())
    write(path)
    assert tree(path) == before


def test_unfinished_is_one_problem(tmp_path):
    write(tmp_path / "b.zarr", shards=[0])
    assert verify_store(tmp_path / "b.zarr") == [Problem("manifest.json", "missing: the store is not finished")]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"fingerprint": 1, "files": 2, "digest": 3}', "[" * 20000, "\xff"],
)
def test_a_damaged_manifest_is_refused_and_rebuilt(path, text):
    before = tree(path)
    (path / "manifest.json").write_bytes(text.encode("latin-1"))
    assert verify_store(path) == [Problem("manifest.json", "damaged")]
    with pytest.raises(UserError, match="its manifest is damaged: run `again`"):
        open_targets(path, "again")
    assert write(path) == "resumed: 3 of 3 shards were done"
    assert tree(path) == before


def test_a_manifest_edited_by_hand_is_damaged(path):
    """Its own digest covers fingerprint and files, so a file and its entry can't be changed together."""
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"a' + "a" * 63, '"c' + "a" * 63))
    assert verify_store(path) == [Problem("manifest.json", "damaged")]


def test_a_manifest_of_another_run_rebuilds_the_store(path, tmp_path):
    before = tree(path)
    write(tmp_path / "b.zarr", teacher="c" * 64)
    (tmp_path / "b.zarr/manifest.json").replace(path / "manifest.json")
    assert write(path).startswith("rebuilt: teacher was")
    assert tree(path) == before


@pytest.mark.parametrize("file", [*LAYOUT.shard_files(1), *metadata_documents(LAYOUT, fingerprint())])
@pytest.mark.parametrize("at", [0.0, 0.5, 0.999])
def test_a_reader_never_takes_a_flipped_bit_for_targets(path, file, at):
    """Each checksum does its part even where nobody verifies: reading raises UserError or gives what was written."""
    expected = open_targets(path, "again").read(slice(0, 41))
    flip_bit(path / file, at)
    try:
        found = open_targets(path, "again").read(slice(0, 41))
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error) and "run `" in str(error)
        return
    ours, theirs = ({**vars(block), **block.levels} for block in (found, expected))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in theirs if name != "levels")


@pytest.mark.parametrize("file", ["manifest.json", "zarr.json"])
def test_what_cannot_be_read_for_a_moment_is_not_removed(path, monkeypatch, file):
    """As on a disk in a network."""
    before, plain = tree(path), Path.read_bytes

    def read(self):
        if self.name in (file, "manifest.json"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))
        return plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        with pytest.raises(OSError, match="Stale file handle"):
            open_for_writing(path, LAYOUT, fingerprint())
    assert tree(path) == before


def test_a_store_that_is_a_link_is_rebuilt_where_it_leads(path, tmp_path):
    link = tmp_path / "linked.zarr"
    link.symlink_to(path)
    plan = open_for_writing(link, LAYOUT, LAYOUT.fingerprint({"teacher": "another"}))
    assert plan.reason.startswith("rebuilt: ") and link.is_symlink() and (path / "zarr.json").is_file()
