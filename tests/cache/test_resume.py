"""A killed run resumes at the first unfinished shard and yields the bytes of an undisturbed one."""

import numpy as np
import pytest

from cache.layout import metadata_documents
from cache.reader import verify_store
from cache.targets import open_targets
from cache.writer import open_for_writing, write_shard
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from tests.cache.stores import IDS, LAYOUT, content, fingerprint, write
from tests.fixtures import flip_bit, tree


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of a store that was written in one go."""
    place = tmp_path_factory.mktemp("undisturbed") / "a.zarr"
    write(place)
    return tree(place)


@pytest.mark.parametrize("written", [[], [0], [0, 1], [0, 1, 2], [1]])
def test_goes_on_where_it_stopped(tmp_path, undisturbed, written):
    path = tmp_path / "a.zarr"
    write(path, shards=written)
    with pytest.raises(UserError, match="it is not finished: run `again`"):
        open_targets(path, "again")
    plan = open_for_writing(path, LAYOUT, fingerprint())
    assert plan.pending == [b for b in range(3) if b not in written]
    assert plan.reason == f"resumed: {len(written)} of 3 shards were done"
    write(path)
    assert tree(path) == undisturbed


def without_done(path):
    (path / "done/c/1").unlink()


def shard_missing(path):
    (path / LAYOUT.shard_files(1)[0]).unlink()


def shard_cut_short(path):
    shard = path / LAYOUT.shard_files(1)[0]
    shard.write_bytes(shard.read_bytes()[:-30])


def shard_empty(path):
    (path / LAYOUT.shard_files(1)[0]).write_bytes(b"")


def small_array_cut_short(path):
    peak = path / LAYOUT.shard_files(1)[1]
    peak.write_bytes(peak.read_bytes()[:10])


def bit_flipped(path):
    flip_bit(path / LAYOUT.shard_files(1)[0], 0.4)


def done_cut_short(path):
    (path / "done/c/1").write_bytes(b"\x28")


@pytest.mark.parametrize(
    "spoil",
    [without_done, shard_missing, shard_cut_short, shard_empty, small_array_cut_short, bit_flipped, done_cut_short],
)
def test_a_shard_that_is_not_whole_is_redone(tmp_path, undisturbed, spoil):
    path = tmp_path / "a.zarr"
    write(path, shards=[0, 1])
    spoil(path)
    assert open_for_writing(path, LAYOUT, fingerprint()).pending == [1, 2]
    write(path)
    assert tree(path) == undisturbed


def test_data_without_done_is_replaced_not_trusted(tmp_path, undisturbed):
    """The killed writer had written other bytes than it should have: nothing of them stays."""
    path = tmp_path / "a.zarr"
    write(path, shards=[0])
    write_shard(path, LAYOUT, 1, content(slice(17, 33)).arrays)
    (path / "done/c/1").unlink()
    write(path)
    assert tree(path) == undisturbed


def test_files_that_a_killed_writer_had_not_renamed_are_removed(tmp_path, undisturbed):
    path = tmp_path / "a.zarr"
    write(path, shards=[0])
    for left in ("heatmaps/c/1/0/0/0/0.2b5c.partial", "zarr.json.partial", "done/c/1.77.partial"):
        (path / left).parent.mkdir(parents=True, exist_ok=True)
        (path / left).write_bytes(b"half")
    write(path)
    assert verify_store(path) == []
    assert tree(path) == undisturbed


@pytest.mark.parametrize("kept", range(8))
def test_killed_while_the_metadata_was_written(tmp_path, undisturbed, kept):
    path = tmp_path / "a.zarr"
    for file, data in list(metadata_documents(LAYOUT, fingerprint()).items())[:kept]:
        write_atomically(path / file, data)
    path.mkdir(exist_ok=True)
    assert open_for_writing(path, LAYOUT, fingerprint()).pending == [0, 1, 2]
    write(path)
    assert tree(path) == undisturbed


def test_a_complete_store_stays_as_it_is(tmp_path):
    path = tmp_path / "a.zarr"
    write(path)
    before = {file: (path / file).stat().st_mtime_ns for file in tree(path)}
    plan = open_for_writing(path, LAYOUT, fingerprint())
    assert (plan.pending, plan.reason) == ([], "complete")
    assert {file: (path / file).stat().st_mtime_ns for file in tree(path)} == before


@pytest.mark.parametrize("shards", [None, [0, 1]], ids=["finished", "unfinished"])
def test_another_fingerprint_rebuilds_and_says_what_changed(tmp_path, undisturbed, shards):
    path = tmp_path / "a.zarr"
    write(path, shards=shards, teacher="1f" * 32, precision="float16")
    reason = write(path)
    assert reason == "rebuilt: precision was float16, now null; teacher was 1f1f1f1f1f1f..., now aaaaaaaaaaaa..."
    assert tree(path) == undisturbed


def test_rebuilds_what_has_no_metadata(tmp_path, undisturbed):
    path = tmp_path / "a.zarr"
    (path / "heatmaps").mkdir(parents=True)
    (path / "heatmaps/junk").write_bytes(b"junk")
    assert write(path) == "rebuilt: its metadata could not be read"
    assert tree(path) == undisturbed


def test_rows_of_the_store_are_the_people(tmp_path):
    write(tmp_path / "a.zarr", shards=[1])
    write(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_targets(tmp_path / "a.zarr", "again", IDS).read(slice(0, 41)).person, IDS)
