"""What is written is what is read, and its bytes are pinned."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
import zarr

from cache.manifest import read_store_manifest
from cache.reader import has_manifest
from cache.targets import TargetLayout, compressed_bytes, open_targets
from cache.writer import finish, open_for_writing, write_shard
from pipeline.common.errors import UserError
from pipeline.targets.block import TargetBlock
from tests.cache.stores import IDS, LAYOUT, SEPARATE, content, fingerprint, write

AGAIN = "pipeline teach --teacher tiny"


@pytest.fixture
def store(tmp_path):
    write(tmp_path / "a.zarr")
    return open_targets(tmp_path / "a.zarr", AGAIN, IDS)


@pytest.fixture(scope="module", params=[LAYOUT, SEPARATE], ids=["maps", "bins"])
def either(request, tmp_path_factory):
    """A layout, and a store of it that nobody changes."""
    place = tmp_path_factory.mktemp("either") / "either.zarr"
    write(place, layout=request.param)
    return request.param, open_targets(place, AGAIN, IDS)


def arrays(block: TargetBlock) -> dict[str, np.ndarray]:
    """Everything that a block holds, by name."""
    small = {field.name: getattr(block, field.name) for field in fields(TargetBlock) if field.name != "levels"}
    return {**block.levels, **small}


def assert_equal(found: TargetBlock, expected: TargetBlock) -> None:
    ours, theirs = arrays(found), arrays(expected)
    assert list(ours) == list(theirs)
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(values, theirs[name], name)


def one_view(block: TargetBlock, view: int) -> TargetBlock:
    """The same people in that view alone, V = 1."""
    levels, small = {}, []
    for name, values in block.levels.items():
        levels[name] = values[:, view : view + 1]
    for values in (block.peak, block.score, block.image_from_target):
        small.append(values[:, view : view + 1])
    return TargetBlock(block.person, levels, *small)


@pytest.mark.parametrize(
    "rows",
    [slice(0, 41), slice(0, 16), slice(32, 41), slice(16, 17), slice(40, 41), slice(10, 35)],
    ids=["all", "one shard", "the short one", "its first row", "the last row", "across two borders"],
)
@pytest.mark.parametrize("view", [None, 0, 1])
def test_read_gives_what_was_written(either, rows, view):
    layout, store = either
    expected = content(rows, layout)
    assert_equal(store.read(rows, view), expected if view is None else one_view(expected, view))


@pytest.mark.parametrize("layout", [LAYOUT, SEPARATE], ids=["maps", "bins"])
def test_every_chunk_of_a_shard_is_the_right_one(tmp_path, layout):
    """Chunks of one view are read straight out of the shard, by their place in it; where 64 people do not divide a shard, fewer."""
    for chunk, people in ((64, 32), (16, 16)):
        sharded = replace(layout, people_per_shard=32, chunk=chunk)
        path = tmp_path / f"{chunk}.zarr"
        write(path, layout=sharded)
        store = open_targets(path, AGAIN, IDS)
        assert sharded.people_per_chunk == people
        for start, view in itertools.product(range(0, 41, people), (0, 1)):
            rows = slice(start, min(start + people, 41))
            assert_equal(store.read(rows, view), one_view(content(rows, layout), view))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:9] + bytes([data[9] ^ 1]) + data[10:],
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: data[:20],
    ],
    ids=["chunk", "index", "length"],
)
def test_a_damaged_chunk_is_named(store, spoil):
    shard = store.path / "heatmaps/c/1/0/0/0/0"
    shard.write_bytes(spoil(shard.read_bytes()))
    with pytest.raises(UserError, match=r"people 16-32 cannot be read .*: run `pipeline cache verify"):
        store.read(slice(16, 32), view=0)
    assert_equal(store.read(slice(32, 41), 1), one_view(content(slice(32, 41)), 1))


def test_reading_twice_in_any_order_gives_the_same(either):
    layout, store = either
    for rows in (slice(30, 41), slice(0, 20), slice(30, 41)):
        assert_equal(store.read(rows), content(rows, layout))


def test_distributions_of_stored_bins():
    """Levels over their sum; the stored peak is for looking at, not for them."""
    x = np.array([0, 51, 255, 204], np.uint8).reshape(1, 1, 1, 4)
    y = np.array([255, 0], np.uint8).reshape(1, 1, 1, 2)
    ones = np.ones((1, 1, 1), np.float16)
    block = TargetBlock(np.arange(1), {"x": x, "y": y}, ones / 4, ones, np.zeros((1, 1, 2, 3)))
    across, down = block.maps(0, slice(None))
    np.testing.assert_allclose(across, [[[0, 0.1, 0.5, 0.4]]], rtol=1e-6)
    assert down.tolist() == [[[1, 0]]]
    assert (across.dtype, down.dtype) == (np.float32, np.float32)


def test_maps_of_stored_heatmaps():
    """Levels over 255, times the peak."""
    levels = np.array([[0, 51], [255, 204]], np.uint8).reshape(1, 1, 1, 2, 2)
    half = np.full((1, 1, 1), 0.5, np.float16)
    block = TargetBlock(np.arange(1), {"heatmaps": levels}, half, half, np.zeros((1, 1, 2, 3)))
    (maps,) = block.maps(0, slice(None))
    np.testing.assert_allclose(maps, [[[[0, 0.1], [0.5, 0.4]]]], rtol=1e-6)


def test_shards_of_the_layout():
    assert LAYOUT.shards == 3
    assert [LAYOUT.rows(b) for b in range(3)] == [slice(0, 16), slice(16, 32), slice(32, 41)]
    assert TargetLayout(32, 1, 1, 1, 1, people_per_shard=16).shards == 2
    assert LAYOUT.shard_files(2) == [
        "heatmaps/c/2/0/0/0/0",
        "peak/c/2/0/0",
        "score/c/2/0/0",
        "image_from_target/c/2/0/0/0",
        "person/c/2",
        "done/c/2",
    ]
    assert SEPARATE.shard_files(2)[:3] == ["x/c/2/0/0/0", "y/c/2/0/0/0", "peak/c/2/0/0"]
    assert (LAYOUT.targets, SEPARATE.targets) == ({"heatmaps": (4, 5)}, {"x": (5,), "y": (6,)})


def test_a_finished_store_has_exactly_the_files_of_its_manifest(either):
    layout, store = either
    files = {path.relative_to(store.path).as_posix() for path in store.path.rglob("*") if path.is_file()}
    listed = set(read_store_manifest(store.path)["files"])
    assert files == listed | {"manifest.json"}
    count = 7 if layout.separate else 6
    assert len(listed) == 1 + count + 3 * count, "zarr.json of the group and each array; a file of each per shard"


def test_every_array_says_its_unit(either):
    layout, store = either
    made = {document.parent.name for document in store.path.glob("*/zarr.json")}
    assert set(store.store.group.attrs["units"]) == made == set(layout.arrays())


@pytest.mark.parametrize(
    ("layout", "pinned"),
    [
        (LAYOUT, "569ade58f024c97f9d6c75d7b5779b357f1a114cceb10f83f4b30bc1041466eb"),
        (SEPARATE, "42a6565ffed2e7b80bdb02031c12ffa04f5766964d282233586cbdcdb7838baf"),
    ],
    ids=["maps", "bins"],
)
def test_stored_bytes_are_pinned(tmp_path, layout, pinned):
    write(tmp_path / "a.zarr", layout=layout)
    files = read_store_manifest(tmp_path / "a.zarr")["files"]
    digest = hashlib.sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode()).hexdigest()
    assert (TargetLayout.VERSION, digest) == (3, pinned), (
        "the bytes of a store have changed for the same input: raise cache.layout.TargetLayout.VERSION and pin the new digest here"
    )


def test_bytes_do_not_depend_on_the_order_of_shards(tmp_path):
    write(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", shards=[2, 0, 1])
    write(tmp_path / "b.zarr")
    assert read_store_manifest(tmp_path / "a.zarr") == read_store_manifest(tmp_path / "b.zarr")


def test_finish_wants_every_shard(tmp_path):
    write(tmp_path / "a.zarr", shards=[0, 2])
    with pytest.raises(ValueError, match=r"shards \[1\] are not done"):
        finish(tmp_path / "a.zarr", LAYOUT, fingerprint())
    assert not has_manifest(tmp_path / "a.zarr")


@pytest.mark.parametrize("separate", [False, True])
def test_all_zero_people_are_written_too(tmp_path, separate):
    """A chunk of zeros equals the fill value; Zarr would leave it out unless told."""
    layout = TargetLayout(people=5, views=1, keypoints=1, height=2, width=2, people_per_shard=16, separate=separate)
    path = tmp_path / "zero.zarr"
    zero = TargetBlock(
        np.arange(5),
        {name: np.zeros((5, 1, 1, *tail), np.uint8) for name, tail in layout.targets.items()},
        np.zeros((5, 1, 1), np.float16),
        np.zeros((5, 1, 1), np.float16),
        np.zeros((5, 1, 2, 3)),
    )
    open_for_writing(path, layout, fingerprint())
    write_shard(path, layout, 0, zero.arrays)
    assert all((path / file).is_file() for file in layout.files)


def test_shards_written_at_once_are_all_there(tmp_path):
    """All zeros, which Zarr leaves out where a thread takes the setting from another; twice as many threads as shards of each store."""
    layout = TargetLayout(people=64, views=1, keypoints=2, height=3, width=3, people_per_shard=16)
    zero = [np.zeros((16, 1, 2), np.float16)] * 2
    stores = [tmp_path / f"{n}.zarr" for n in range(8)]

    def write_one(path, shard):
        block = TargetBlock(
            np.zeros(16, np.int64), {"heatmaps": np.zeros((16, 1, 2, 3, 3), np.uint8)}, *zero, np.zeros((16, 1, 2, 3))
        )
        write_shard(path, layout, shard, block.arrays)

    for path in stores:
        open_for_writing(path, layout, fingerprint(layout))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_one, [path for path in stores for _ in range(4)], list(range(4)) * len(stores)))
    for path in stores:
        finish(path, layout, fingerprint(layout))
        assert all((path / file).stat().st_size for file in layout.files)


def test_compressed_bytes_are_about_those_on_disk(store):
    """Within a factor of two: the shard adds an index, the estimate compresses 41 people as one instead of 16."""
    stored = sum((store.path / file).stat().st_size for file in LAYOUT.files if file.startswith("heatmaps/"))
    assert 0.5 < compressed_bytes(content(slice(0, 41)).levels) / stored < 1


def test_compressed_bytes_of_bins_are_about_those_on_disk(tmp_path):
    """The same of 384 and 512 bins of noise, which does not compress: 896 bytes a keypoint, an index and 5 bytes a chunk."""
    layout = TargetLayout(people=41, views=2, keypoints=3, height=512, width=384, people_per_shard=16, separate=True)
    random, path = np.random.default_rng(0), tmp_path / "bins.zarr"
    levels = {name: random.integers(0, 256, (41, 2, 3, *tail), dtype=np.uint8) for name, tail in layout.targets.items()}
    small = [np.zeros((41, 2, 3), np.float16)] * 2
    open_for_writing(path, layout, fingerprint(layout))
    for shard in range(3):
        rows = layout.rows(shard)
        part = {name: values[rows] for name, values in levels.items()}
        block = TargetBlock(IDS[rows], part, *(values[rows] for values in small), np.zeros((41, 2, 2, 3))[rows])
        write_shard(path, layout, shard, block.arrays)
    stored = sum((path / file).stat().st_size for file in layout.files if file[:2] in ("x/", "y/"))
    estimate = compressed_bytes(levels)
    assert estimate == pytest.approx(41 * 2 * 3 * 896, rel=0.001)
    assert 0.99 < estimate / stored < 1


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
        (take_back_done, "not every shard is done"),
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
    write(tmp_path / "a.zarr", version=TargetLayout.VERSION + 1)
    with pytest.raises(
        UserError, match="expected pose-fusion targets of version 3, found pose-fusion targets of version 4"
    ):
        open_targets(tmp_path / "a.zarr", AGAIN)
