import json
import sys

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.metrics.prediction_files import read_coco_results, read_mpii_predictions
from pipeline.pose.skeletons import COCO17, HALPE26, MPII16

PREDS = np.arange(3 * 16 * 2, dtype=float).reshape(3, 16, 2)


def results(path, *counts):
    poses = [{"image_id": 5, "category_id": 1, "keypoints": [0] * 3 * k, "score": 1} for k in counts]
    path.write_text(json.dumps(poses))
    return path


def test_preds_are_one_based_in_either_layout(tmp_path):
    for name, preds in (("people.mat", PREDS), ("matlab.mat", PREDS.transpose(2, 1, 0))):
        savemat(tmp_path / name, {"preds": preds})
        np.testing.assert_array_equal(read_mpii_predictions(tmp_path / name), PREDS - 1)


def test_sixteen_people_or_two_are_no_puzzle(tmp_path):
    for n in (2, 16):
        preds = np.random.default_rng(n).uniform(0, 9, (n, 16, 2))
        savemat(tmp_path / "preds.mat", {"preds": preds})
        np.testing.assert_array_equal(read_mpii_predictions(tmp_path / "preds.mat"), preds - 1)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"pred": PREDS}, "expected `preds`, found none"),
        ({"preds": PREDS[:, :14]}, r"expected numbers of shape (N, 16, 2) or (2, 16, N), found float64 (3, 14, 2)"),
        ({"preds": PREDS[0]}, r"expected numbers of shape (N, 16, 2) or (2, 16, N), found float64 (16, 2)"),
        ({"preds": "none"}, "expected numbers of shape (N, 16, 2) or (2, 16, N), found <U4 (1,)"),
    ],
)
def test_other_contents_are_refused(tmp_path, variables, words):
    savemat(tmp_path / "preds.mat", variables)
    with pytest.raises(UserError) as error:
        read_mpii_predictions(tmp_path / "preds.mat")
    assert str(error.value).endswith(words) and str(tmp_path / "preds.mat") in str(error.value)


def test_hdf5_needs_h5py_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "preds.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="HDF5 is read through h5py, which is not installed: `pip install h5py`, or"):
        read_mpii_predictions(path)
    with pytest.raises(UserError, match="expected a readable file"):
        read_mpii_predictions(tmp_path / "absent.h5")


def test_hdf5_with_h5py(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is optional, and not installed")
    with h5py.File(tmp_path / "preds.h5", "w") as file:
        file["preds"] = PREDS
    np.testing.assert_array_equal(read_mpii_predictions(tmp_path / "preds.h5"), PREDS - 1)
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UserError, match="expected an HDF5 file with `preds`"):
        read_mpii_predictions(tmp_path / "broken.h5")


def test_results_tell_their_skeleton_by_their_length(tmp_path):
    path = tmp_path / "results.json"
    known = (HALPE26, COCO17, MPII16)
    assert [read_coco_results(results(path, k), known).skeleton.name for k in (17, 26, 16)] == [
        "coco17",
        "halpe26",
        "mpii16",
    ]
    assert read_coco_results(results(path), known).skeleton is HALPE26
    with pytest.raises(
        UserError, match=r"pose 0: expected `keypoints` to hold 78 \(halpe26\), 51 \(coco17\), .* found 63"
    ):
        read_coco_results(results(path, 21), known)
    with pytest.raises(UserError, match="pose 1: expected `keypoints` to hold 51 numbers, found 48"):
        read_coco_results(results(path, 17, 16), known)
