"""What is written is what is read, and its bytes are pinned."""

import hashlib
from dataclasses import fields

import numpy as np
import pytest
import zarr

from cache.layout import TARGETS_VERSION, Layout, compressed_bytes
from cache.manifest import read_manifest
from cache.reader import is_complete, open_targets
from cache.writer import finish, open_for_writing, write_boundary
from pipeline.errors import UserError
from pipeline.targets.block import TargetBlock
from tests.cache.stores import IDS, LAYOUT, content, fingerprint, write

AGAIN = "pipeline teach --teacher tiny"


@pytest.fixture
def store(tmp_path):
    write(tmp_path / "a.zarr")
    return open_targets(tmp_path / "a.zarr", AGAIN, IDS)


def assert_equal(found: TargetBlock, expected: TargetBlock) -> None:
    for field in fields(TargetBlock):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        assert a.dtype == b.dtype, field.name
        np.testing.assert_array_equal(a, b, field.name)


@pytest.mark.parametrize(
    "rows",
    [slice(0, 41), slice(0, 16), slice(32, 41), slice(16, 17), slice(40, 41), slice(10, 35)],
    ids=["all", "one boundary", "the short one", "its first row", "the last row", "across two borders"],
)
@pytest.mark.parametrize("view", [None, 0, 1])
def test_read_gives_what_was_written(store, rows, view):
    expected = content(rows)
    if view is not None:
        parts = [getattr(expected, f.name) for f in fields(TargetBlock)]
        expected = TargetBlock(parts[0], *(part[:, view : view + 1] for part in parts[1:]))
    assert_equal(store.read(rows, view), expected)


def test_reading_twice_in_any_order_gives_the_same(store):
    for rows in (slice(30, 41), slice(0, 20), slice(30, 41)):
        assert_equal(store.read(rows), content(rows))


def test_boundaries_of_the_layout():
    assert LAYOUT.boundaries == 3
    assert [LAYOUT.rows(b) for b in range(3)] == [slice(0, 16), slice(16, 32), slice(32, 41)]
    assert Layout(32, 1, 1, 1, 1, boundary=16).boundaries == 2
    assert LAYOUT.shard_files(2) == [
        "heatmaps/c/2/0/0/0/0",
        "peak/c/2/0/0",
        "score/c/2/0/0",
        "image_from_target/c/2/0/0/0",
        "person/c/2",
        "done/c/2",
    ]


def test_a_finished_store_has_exactly_the_files_of_its_manifest(store):
    files = {path.relative_to(store.path).as_posix() for path in store.path.rglob("*") if path.is_file()}
    listed = set(read_manifest(store.path)["files"])
    assert files == listed | {"manifest.json"}
    assert len(listed) == 7 + 3 * 6, "zarr.json of the group and six arrays; six files per boundary"


def test_stored_bytes_are_pinned(tmp_path):
    write(tmp_path / "a.zarr")
    files = read_manifest(tmp_path / "a.zarr")["files"]
    digest = hashlib.sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode()).hexdigest()
    assert (TARGETS_VERSION, digest) == (1, "13206dfdd66eab0c05c32a4be04e5e68ca9d6c050ac709f1e9b51fcd445022cd"), (
        "the bytes of a store have changed for the same input: raise cache.layout.TARGETS_VERSION and pin the new digest here"
    )


def test_bytes_do_not_depend_on_the_order_of_boundaries(tmp_path):
    write(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", boundaries=[2, 0, 1])
    write(tmp_path / "b.zarr")
    assert read_manifest(tmp_path / "a.zarr") == read_manifest(tmp_path / "b.zarr")


def test_finish_wants_every_boundary(tmp_path):
    write(tmp_path / "a.zarr", boundaries=[0, 2])
    with pytest.raises(ValueError, match=r"boundaries \[1\] are not done"):
        finish(tmp_path / "a.zarr", LAYOUT, fingerprint())
    assert not is_complete(tmp_path / "a.zarr")


def test_all_zero_people_are_written_too(tmp_path):
    """A chunk of zeros equals the fill value; Zarr would leave it out unless told."""
    layout = Layout(people=5, views=1, keypoints=1, height=2, width=2, boundary=16)
    path = tmp_path / "zero.zarr"
    zero = TargetBlock(
        np.arange(5),
        np.zeros((5, 1, 1, 2, 2), np.uint8),
        np.zeros((5, 1, 1), np.float16),
        np.zeros((5, 1, 1), np.float16),
        np.zeros((5, 1, 2, 3)),
    )
    open_for_writing(path, layout, fingerprint())
    write_boundary(path, layout, 0, zero)
    assert all((path / file).is_file() for file in layout.files)


def test_compressed_bytes_are_about_those_on_disk(store):
    """Within a factor of two: the shard adds an index, the estimate compresses 41 people as one instead of 16."""
    shards = sum((store.path / file).stat().st_size for file in LAYOUT.files if file.startswith("heatmaps/"))
    assert 0.5 < compressed_bytes(content(slice(0, 41)).levels) / shards < 1


def take_back_done(path):
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_group(path)["done"][16:32] = False


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.rename(path.with_name("moved")), "no such target store"),
        (lambda path: (path / "manifest.json").unlink(), "it is not finished"),
        (lambda path: (path / "manifest.json").write_text("{}"), "its manifest is damaged"),
        (lambda path: (path / "zarr.json").unlink(), "not a readable target store"),
        (lambda path: (path / "zarr.json").write_text("[]"), "not a readable target store"),
        (take_back_done, "not every boundary is done"),
        (lambda path: (path / "done/c/1").unlink(), "done/c/1 is missing or empty"),
        (lambda path: (path / "heatmaps/c/1/0/0/0/0").write_bytes(b""), "heatmaps/c/1/0/0/0/0 is missing or empty"),
        (lambda path: (path / "peak/zarr.json").unlink(), "peak/zarr.json is missing or empty"),
    ],
    ids=[
        "absent",
        "unfinished",
        "manifest",
        "no metadata",
        "other metadata",
        "undone",
        "no done",
        "no shard",
        "no array",
    ],
)
def test_open_refuses(tmp_path, spoil, message):
    path = tmp_path / "a.zarr"
    write(path)
    spoil(path)
    with pytest.raises(UserError) as error:
        open_targets(path, AGAIN)
    assert message in str(error.value) and str(path) in str(error.value)
    assert f"run `{AGAIN}`" in str(error.value)


def test_open_refuses_other_people(tmp_path):
    write(tmp_path / "a.zarr")
    for other in (IDS + 1, IDS[::-1], IDS[:-1]):
        with pytest.raises(
            UserError, match="other people than the people table's: run `pipeline teach --teacher tiny`"
        ):
            open_targets(tmp_path / "a.zarr", AGAIN, other)


def test_open_refuses_a_manifest_of_another_run(tmp_path):
    write(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", teacher="c" * 64)
    (tmp_path / "b.zarr/manifest.json").replace(tmp_path / "a.zarr/manifest.json")
    with pytest.raises(UserError, match="belongs to another run"):
        open_targets(tmp_path / "a.zarr", AGAIN)


def test_open_refuses_another_version(tmp_path):
    write(tmp_path / "a.zarr", targets_version=TARGETS_VERSION + 1)
    with pytest.raises(
        UserError, match="expected pose-fusion targets of version 1, found pose-fusion targets of version 2"
    ):
        open_targets(tmp_path / "a.zarr", AGAIN)
