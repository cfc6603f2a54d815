import hashlib

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.people.image_manifest import build_image_manifest, read_image_manifest, write_image_manifest


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        (images / name).write_bytes(name.encode() * 10)
    return images


@pytest.mark.parametrize("workers", [1, 4])
def test_every_image_once_and_sorted(folder, workers):
    advanced = []
    found = build_image_manifest(folder, ["c.jpg", "a.jpg", "c.jpg"], workers, lambda: advanced.append(1))
    assert found.name.tolist() == ["a.jpg", "c.jpg"] and found.bytes.tolist() == [50, 50] and len(advanced) == 2
    assert found.sha256.tolist() == [hashlib.sha256(n.encode() * 10).hexdigest() for n in ("a.jpg", "c.jpg")]


def test_round_trip_and_equal_bytes(folder, tmp_path):
    for names in (["a.jpg", "b.jpg"], []):
        before = build_image_manifest(folder, names)
        write_image_manifest(before, tmp_path / "one.parquet")
        after = read_image_manifest(tmp_path / "one.parquet")
        assert after.name.tolist() == before.name.tolist() and after.bytes.tolist() == before.bytes.tolist()
        assert after.sha256.tolist() == before.sha256.tolist()
        write_image_manifest(after, tmp_path / "two.parquet")
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_errors_name_the_file(folder, tmp_path):
    with pytest.raises(UserError, match=r"none\.jpg: expected a readable file"):
        build_image_manifest(folder, ["a.jpg", "none.jpg"])
    with pytest.raises(UserError, match="inside the image folder"):
        build_image_manifest(folder, ["../a.jpg"])
    with pytest.raises(UserError, match=r"m\.parquet: expected an image manifest, found no file: .*`pipeline prepare`"):
        read_image_manifest(tmp_path / "m.parquet")
    from pyarrow import parquet, table

    parquet.write_table(table({"name": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"expected an image manifest with .*found name string.*`pipeline prepare`"):
        read_image_manifest(tmp_path / "m.parquet")


def test_a_half_image_is_refused_and_complaints_are_named(folder):
    """Each end mark is there; the decoder fills the missing part with grey."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    progressive = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    (folder / "a.jpg").write_bytes(whole)
    (folder / "b.jpg").write_bytes(whole[:-2] + bytes(9) + whole[-2:])
    said = []
    build_image_manifest(folder, ["a.jpg", "b.jpg", "c.jpg"], warn=said.append)
    assert said == [f"{folder}/b.jpg: Corrupt JPEG data: 5 extraneous bytes before marker 0xd9"]
    for data in (whole, progressive):
        (folder / "b.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
        build_image_manifest(folder, ["a.jpg", "b.jpg"])
        with pytest.raises(UserError, match=r"images/b\.jpg: expected a complete image, found one with a part missing"):
            build_image_manifest(folder, ["a.jpg", "b.jpg"], warn=said.append)
