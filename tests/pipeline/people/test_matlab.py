"""MATLAB files are walked through before SciPy parses them: whole ones pass as they are, damage never gets there."""

import io
import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pipeline.errors import UserError
from pipeline.people.matlab import read_mat, unpacked
from tests.faults.readers import release, saved, truth

KINDS = {
    "numbers": {"a": np.arange(24.0).reshape(2, 3, 4), "b": np.array([[1, 2]], np.uint8), "c": np.array(3 + 4j)},
    "texts": {"a": "hello", "b": "größer", "c": ""},
    "empty": {"a": np.zeros((0, 0)), "b": np.zeros((0, 3), np.int16)},
    "structs": {"a": {"b": {"c": 1, "d": "x"}, "e": np.array([1.5])}},
    "booleans": {"a": np.array([True, False])},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_scipy_writes_comes_back_as_scipy_reads_it(tmp_path, kind, packed):
    (tmp_path / "a.mat").write_bytes(saved(KINDS[kind], packed))
    found, expected = read_mat(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat")
    assert found.keys() == expected.keys()
    for name in KINDS[kind]:
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_walk_changes_no_byte_of_an_unpacked_file():
    for data in (release(), truth()):
        assert unpacked(data) == data


def test_a_packed_file_becomes_the_unpacked_one():
    head = 128  # date and time stand in the header
    assert unpacked(release(packed=True))[head:] == release()[head:]


def test_either_byte_order(tmp_path):
    # Written by hand (MAT-File Format, Level 5): one double, 7.5, called `a`, as on a machine that begins with the high byte.
    body = struct.pack(">II", 6, 8) + struct.pack(">II", 6, 0)  # flags: class 6
    body += struct.pack(">IIii", 5, 8, 1, 1) + struct.pack(">HH", 1, 1) + b"a\0\0\0"
    body += struct.pack(">IId", 9, 8, 7.5)
    (tmp_path / "a.mat").write_bytes(
        b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(body)) + body
    )
    assert read_mat(tmp_path / "a.mat")["a"] == 7.5


@pytest.mark.parametrize("data", [release(), truth(), saved(KINDS["numbers"])], ids=["release", "truth", "numbers"])
def test_every_flipped_bit_of_the_first_tags_is_read_or_refused(tmp_path, data):
    """SciPy alone ends the process on about one in forty of them."""
    for byte in range(124, min(len(data), 124 + 300)):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << byte % 8
        (tmp_path / "a.mat").write_bytes(damaged)
        try:
            read_mat(tmp_path / "a.mat", structs=True)
        except UserError as error:
            assert "\n" not in str(error) and "a.mat: expected a MATLAB file, found " in str(error)


def nested(depth):
    inner = np.zeros((0, 0))
    for _ in range(depth):
        cell = np.empty((1, 1), object)
        cell[0, 0] = inner
        inner = cell
    return saved({"a": inner})


def oldest():
    stream = io.BytesIO()
    savemat(stream, {"a": np.ones((2, 2))}, format="4")
    return stream.getvalue()


def sparse():
    from scipy.sparse import eye

    return saved({"a": eye(3)})


def changed(data, at, value):
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


ONE = saved({"a": np.ones((2, 2))})


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (oldest(), "none of version 5 to 7"),
        (b"x" * 400, "none of version 5 to 7"),
        (sparse(), "an array of class 5"),
        (nested(60), "arrays nested too deep"),
        (changed(ONE, 132, 2**31), "an element that is cut short"),
        (changed(ONE, 128, 99), "an element of another type"),
        (changed(ONE, 160, 1000), "an array of 2000 elements with 4"),
        (changed(ONE, 160, 2**32 - 1), "an array of shape [-1, 2]"),
        (ONE + b"\0" * 3, "an element that is cut short"),
        (saved({"a": np.zeros(10**6)}, packed=True)[:-9], "an element that is cut short"),
    ],
)
def test_what_is_refused(tmp_path, data, found):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(UserError) as error:
        read_mat(tmp_path / "a.mat")
    assert str(error.value) == f"{tmp_path / 'a.mat'}: expected a MATLAB file, found {found}"


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.people.matlab.LARGEST", 10**5)
    (tmp_path / "a.mat").write_bytes(saved({"a": np.zeros(10**6)}, packed=True))
    with pytest.raises(UserError, match="unpacks to gigabytes"):
        read_mat(tmp_path / "a.mat")
