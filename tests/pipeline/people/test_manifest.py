import hashlib

import pytest

from pipeline.errors import UserError
from pipeline.people.manifest import picture_manifest, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        (pictures / name).write_bytes(name.encode() * 10)
    return pictures


@pytest.mark.parametrize("workers", [1, 4])
def test_every_picture_once_and_sorted(folder, workers):
    advanced = []
    found = picture_manifest(folder, ["c.jpg", "a.jpg", "c.jpg"], workers, lambda: advanced.append(1))
    assert found.name.tolist() == ["a.jpg", "c.jpg"] and found.bytes.tolist() == [50, 50] and len(advanced) == 2
    assert found.sha256.tolist() == [hashlib.sha256(n.encode() * 10).hexdigest() for n in ("a.jpg", "c.jpg")]


def test_round_trip_and_equal_bytes(folder, tmp_path):
    for names in (["a.jpg", "b.jpg"], []):
        before = picture_manifest(folder, names)
        write_manifest(before, tmp_path / "one.parquet")
        after = read_manifest(tmp_path / "one.parquet")
        assert after.name.tolist() == before.name.tolist() and after.bytes.tolist() == before.bytes.tolist()
        assert after.sha256.tolist() == before.sha256.tolist()
        write_manifest(after, tmp_path / "two.parquet")
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_errors_name_the_file(folder, tmp_path):
    with pytest.raises(UserError, match=r"none\.jpg: expected a readable file"):
        picture_manifest(folder, ["a.jpg", "none.jpg"])
    with pytest.raises(UserError, match="inside the picture folder"):
        picture_manifest(folder, ["../a.jpg"])
    with pytest.raises(
        UserError, match=r"m\.parquet: expected a picture manifest, found no file: .*`pipeline prepare`"
    ):
        read_manifest(tmp_path / "m.parquet")
    from pyarrow import parquet, table

    parquet.write_table(table({"name": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"expected a picture manifest with .*found name string.*`pipeline prepare`"):
        read_manifest(tmp_path / "m.parquet")
