"""MATLAB files are read by SciPy in a process of its own: with the same result, and a crash of that process is an error message."""

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pipeline.common.errors import UserError
from pipeline.datasets import matlab
from pipeline.datasets.matlab import read_mat
from tests.faults.readers import release, saved, truth

VARIABLES = {
    "numbers": np.arange(24.0).reshape(2, 3, 4),
    "bytes": np.array([[1, 2]], np.uint8),
    "complex": np.array(3 + 4j),
    "text": "größer",
    "no_text": "",
    "empty": np.zeros((0, 3), np.int16),
    "struct": {"b": {"c": 1, "d": "x"}, "e": np.array([1.5])},
    "booleans": np.array([True, False]),
}


@pytest.fixture(autouse=True)
def matlab_files_are_read_in_forks():
    """Leave the process as it is: it is what is tested here."""


@pytest.mark.parametrize("options", [{"do_compression": False}, {"do_compression": True}, {"format": "4"}])
def test_variables_are_those_that_scipy_reads(tmp_path, options):
    path = tmp_path / "a.mat"
    savemat(path, {"numbers": np.ones((2, 3))} if "format" in options else VARIABLES, **options)
    variables, expected = read_mat(path), loadmat(path)
    assert variables.keys() == expected.keys()
    for name in expected.keys() & VARIABLES.keys():
        np.testing.assert_array_equal(variables[name], expected[name])


def test_structs_are_objects(tmp_path):
    (tmp_path / "a.mat").write_bytes(release(packed=True))
    first, second = read_mat(tmp_path / "a.mat", structs=True)["RELEASE"].annolist
    assert (first.image.name, second.image.name) == ("a.jpg", "b.jpg")
    assert [point.y for point in first.annorect.annopoints.point] == [6, 6, 6]


def test_the_real_truth(real):
    path = real / "mpii/mpii_gt_val.mat"
    np.testing.assert_array_equal(read_mat(path)["pos_gt_src"], loadmat(path)["pos_gt_src"])


def test_either_byte_order(tmp_path):
    # Written by hand (MAT-File Format, Level 5): one double, 7.5, called `a`, as on a machine that begins with the high byte.
    body = struct.pack(">II", 6, 8) + struct.pack(">II", 6, 0)  # flags: class 6
    body += struct.pack(">IIii", 5, 8, 1, 1) + struct.pack(">HH", 1, 1) + b"a\0\0\0"
    body += struct.pack(">IId", 9, 8, 7.5)
    header = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(body))
    (tmp_path / "a.mat").write_bytes(header + body)
    assert read_mat(tmp_path / "a.mat")["a"] == 7.5


def flipped(data: bytes, byte: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    return bytes(changed)


ONE = saved({"a": np.ones((2, 2))})


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x" * 400, "Unknown mat file type, version 120, 120"),
        (truth()[:900], "could not read bytes"),
        (saved({"a": np.zeros(10**6)}, packed=True)[:-9], "could not read bytes"),
        (flipped(truth(packed=True), 300, 0), "Error -3 while decompressing data: incorrect data check"),
        (ONE[:160] + struct.pack("<I", 1000) + ONE[164:], "cannot reshape array of size 4 into shape (2,1000)"),
        (flipped(truth(), 240, 4), "the reader ended with exit code -11"),
    ],
)
def test_what_is_refused(tmp_path, data, found):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(UserError) as error:
        read_mat(tmp_path / "a.mat")
    start = f"{tmp_path / 'a.mat'}: expected a MATLAB file, found one that SciPy cannot read ({found}"
    assert str(error.value).startswith(start) and str(error.value).isprintable()


def test_memory_and_time_are_limited(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    path.write_bytes(saved({"a": np.zeros(10**8, np.uint8)}, packed=True))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="Unable to allocate"):
        patch.setattr(matlab, "MEMORY", 3 * 10**8)
        read_mat(path)
    monkeypatch.setattr(matlab, "SECONDS", 1)
    monkeypatch.setattr(matlab, "SECONDS_PER_MB", 0)
    # Three million empty cells: flags, shape, name, then the tags of as many arrays without content.
    body = struct.pack("<8I", 6, 8, 1, 0, 5, 8, 1, 3 * 10**6) + struct.pack("<HH4s", 1, 1, b"a")
    body += struct.pack("<II", 14, 0) * 3 * 10**6
    path.write_bytes(ONE[:128] + struct.pack("<II", 14, len(body)) + body)
    with pytest.raises(UserError, match="exit code -"):
        read_mat(path)


def test_the_process_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mat").write_bytes(ONE)
    (tmp_path / "scipy.py").write_text("1 / 0")
    assert read_mat("a.mat")["a"].sum() == 4
