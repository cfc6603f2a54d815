import json

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


def test_hdf5(tmp_path):
    for name in ("preds.h5", "preds.mat"):
        with h5py.File(tmp_path / name, "w") as file:
            file["preds"] = PREDS
        np.testing.assert_array_equal(read_mpii_predictions(tmp_path / name), PREDS - 1)
    with h5py.File(tmp_path / "named.h5", "w") as file:
        file["pred"] = PREDS
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "text.h5").write_text("hello")
    for name in ("named.h5", "broken.h5", "text.h5"):
        with pytest.raises(UserError, match=f"{name}: expected an HDF5 file with `preds`"):
            read_mpii_predictions(tmp_path / name)
    with pytest.raises(UserError, match="expected a readable file"):
        read_mpii_predictions(tmp_path / "absent.h5")


@pytest.mark.parametrize("n", [2, 3])
def test_matlab_7_3_has_its_dimensions_in_the_other_order(tmp_path, n):
    """As `save -v7.3` writes an array of MATLAB's size n x 16 x 2: behind a header, from the last dimension to the first."""
    preds = np.random.default_rng(n).uniform(0, 9, (n, 16, 2))
    with h5py.File(tmp_path / "preds.mat", "w", userblock_size=512) as file:
        file["preds"] = preds.T
    with (tmp_path / "preds.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    np.testing.assert_array_equal(read_mpii_predictions(tmp_path / "preds.mat"), preds - 1)


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(categories=st.lists(st.integers(0, 3), min_size=1, max_size=6), person=st.integers(0, 3))
def test_poses_are_those_of_the_truths_person_or_refused(tmp_path, categories, person):
    path, lines = tmp_path / "results.json", []
    poses = [{"image_id": i, "category_id": c, "keypoints": [0] * 51, "score": 1} for i, c in enumerate(categories)]
    path.write_text(json.dumps(poses))
    kept = [i for i, c in enumerate(categories) if c == person]
    if not kept:
        with pytest.raises(UserError, match=rf"expected poses of people \(`category_id` {person}\), found "):
            read_coco_results(path, persons=[person], warn=lines.append)
        return
    assert read_coco_results(path, persons=[person], warn=lines.append).image_id.tolist() == kept
    left = len(categories) - len(kept)
    assert [f"{left} of {len(categories)} poses are left out" in line for line in lines] == [True] * (left > 0)
