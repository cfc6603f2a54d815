import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pipeline.datasets.mpii import read_mpii_truth
from pipeline.datasets.mpii_release import read_mpii_release
from pipeline.metrics.bootstrap import Resamples, draw_resamples
from pipeline.metrics.pckh import correct_keypoints, pckh, pckh_of_correct, pckh_of_people, pckh_scores
from pipeline.people.people import head_size
from pipeline.pose.skeletons import COCO17, MPII16, union
from tests.pipeline.datasets.test_mpii_release import annotated, point, structs

PUBLISHED = {
    "head": 95.80,
    "shoulder": 94.57,
    "elbow": 88.12,
    "wrist": 83.31,
    "hip": 86.24,
    "knee": 80.88,
    "ankle": 77.44,
}
"""../shared/real/README.md, for `hg_s2_b1.mat`."""


@pytest.fixture
def hourglass(real):
    predicted = loadmat(real / "mpii" / "predictions" / "hg_s2_b1.mat")["preds"] - 1  # 1-based, like the truth
    return read_mpii_truth(real / "mpii" / "mpii_gt_val.mat"), predicted


def test_the_published_numbers(hourglass):
    truth, predicted = hourglass
    found = pckh(truth.joints, truth.labelled, head_size(truth.head_box), predicted)
    assert found.groups == pytest.approx(PUBLISHED, abs=0.005)  # published with two digits
    assert list(found.groups) == list(PUBLISHED)
    assert found.mean == pytest.approx(86.76, abs=0.005)
    assert found.mean_weighted == pytest.approx(87.30, abs=0.005)
    strict = pckh(truth.joints, truth.labelled, head_size(truth.head_box), predicted, threshold=0.1)
    assert strict.mean_weighted == pytest.approx(23.91, abs=0.005)


def test_counts_and_order_of_the_published_truth(hourglass):
    truth, predicted = hourglass
    assert truth.joints.shape == predicted.shape == (2958, 16, 2)
    assert MPII16.keypoints[:3] == ("right_ankle", "right_knee", "right_hip") and MPII16.keypoints[9] == "head_top"
    correct, counted = correct_keypoints(truth.joints, truth.labelled, head_size(truth.head_box), predicted)
    count = dict(zip(MPII16.keypoints, counted.sum(axis=0).tolist(), strict=True))
    # The truth file's own `jnt_missing`, and what HRNet weights by.
    assert counted.sum() == truth.labelled.sum() == 44_240
    assert (count["head_top"], count["left_ankle"], count["right_ankle"]) == (2932, 2119, 2115)
    swapped = predicted[:, MPII16.mirror]
    assert (
        pckh_of_correct(*correct_keypoints(truth.joints, truth.labelled, head_size(truth.head_box), swapped)).mean < 50
    )
    assert correct.sum(axis=0)[MPII16.index("head_top")] == round(0.9580 * 2932)


def test_both_means_with_their_resamples(hourglass):
    truth, predicted = hourglass
    resamples = draw_resamples(np.arange(2958), 200, [0])
    found = correct_keypoints(truth.joints, truth.labelled, head_size(truth.head_box), predicted)
    for score, expected in zip(pckh_scores(*found, np.arange(2958), resamples), (86.76, 87.30), strict=True):
        assert score.value == pytest.approx(expected, abs=0.005)
        low, high = score.interval
        # 2,958 people of 14 joints: the standard error of 87 % is 0.165 if joints were independent, 0.62 if a person's were one.
        assert 2 * 1.96 * 0.165 < high - low < 2 * 1.96 * 0.62 and low < expected < high


def test_resampled_means_by_hand():
    truth, predicted = (np.repeat(a, 2, axis=0) for a in single(head_top=0))
    labelled = np.ones((2, 16), bool)
    labelled[1, MPII16.index("left_ankle")] = False
    predicted[1] = 0
    drawn = Resamples(np.array([4, 8]), np.array([[2, 0], [0, 2], [1, 1]]))
    mean, weighted = pckh_scores(
        *correct_keypoints(truth, labelled, np.full(2, 10.0), predicted), np.array([4, 8]), drawn
    )
    np.testing.assert_allclose(mean.resampled, [100 / 14, 100, 100 * (1 + 12 / 2) / 14])
    np.testing.assert_allclose(weighted.resampled, [100 / 14, 100, 100 * 14 / 27])
    assert mean.value == pytest.approx(mean.resampled[2]) and weighted.value == pytest.approx(weighted.resampled[2])


def test_tables_score_as_arrays(hourglass, make_people, make_poses):
    truth, predicted = hourglass
    points = np.where(truth.labelled[..., None], truth.joints, np.nan)
    people = make_people(MPII16, points, head_box=truth.head_box)
    student = union([COCO17, MPII16])
    spread = np.zeros((len(predicted), len(student), 2))
    spread[:, MPII16.positions_in(student)] = predicted
    order = np.random.default_rng(0).permutation(len(predicted))
    poses = make_poses(student, spread[order], person=people.person[order])
    assert pckh_of_people(people, poses) == pckh(truth.joints, truth.labelled, head_size(truth.head_box), predicted)


def single(**distances):
    """One person: truth at 0, the named keypoints that far off, the others 100 px off."""
    truth, predicted = np.zeros((1, 16, 2)), np.full((1, 16, 2), 100.0)
    for name, distance in distances.items():
        predicted[0, MPII16.index(name)] = distance, 0
    return truth, predicted


def test_by_hand():
    truth, predicted = single(head_top=5, upper_neck=5.01, left_knee=4, pelvis=0, thorax=0)
    labelled = np.ones((1, 16), bool)
    labelled[0, [MPII16.index(k) for k in ("right_wrist", "left_wrist")]] = False
    found = pckh(truth, labelled, np.array([10.0]), predicted)
    assert found.keypoints["head_top"] == 100 and found.keypoints["upper_neck"] == 0  # 5 is within 0.5 x 10
    assert found.keypoints["pelvis"] == 100 and np.isnan(found.keypoints["left_wrist"])
    assert found.groups["head"] == 100 and found.groups["knee"] == 50 and np.isnan(found.groups["wrist"])
    assert found.mean == pytest.approx(100 * 2 / 12)  # head top and one knee of 12, without pelvis and thorax
    assert found.mean_weighted == pytest.approx(100 * 2 / 12)


def test_the_means_weigh_differently():
    truth, predicted = (np.repeat(a, 3, axis=0) for a in single(head_top=0))
    labelled = np.ones((3, 16), bool)
    labelled[1:, [MPII16.index("left_ankle"), MPII16.index("right_ankle")]] = False
    found = pckh(truth, labelled, np.full(3, 10.0), predicted)
    assert found.mean == pytest.approx(100 / 14)
    assert found.mean_weighted == pytest.approx(100 * 3 / (12 * 3 + 2))


def test_missing_is_wrong_and_people_without_a_head_are_left_out():
    truth, predicted = (np.repeat(a, 3, axis=0) for a in single(head_top=0))
    predicted[0] = np.nan
    found = pckh(truth, np.ones((3, 16), bool), np.array([10.0, 10.0, np.nan]), predicted)
    assert found.groups["head"] == 50
    assert np.isnan(pckh(truth, np.ones((3, 16), bool), np.zeros(3), predicted).mean)


def test_people_without_a_pose_or_a_head_box(make_people, make_poses):
    points = np.random.default_rng(1).integers(0, 100, (3, 16, 2)).astype(float)
    top, neck = MPII16.index("head_top"), MPII16.index("upper_neck")
    points[:, top], points[:, neck] = (0, 0), (0, 20)
    points[2, top] = np.nan  # no head size: left out
    truth = make_people(MPII16, points)
    off = np.nan_to_num(points)
    off[0, :, 0] += 10  # within 0.5 x 20
    assert pckh_of_people(truth, make_poses(MPII16, off)).mean == 100
    off[0, :, 0] += 0.1
    assert pckh_of_people(truth, make_poses(MPII16, off)).mean == 50
    assert pckh_of_people(truth, make_poses(MPII16, off[1:2], person=np.array([11]))).mean == 50
    assert pckh_of_people(truth, make_poses(COCO17, np.zeros((0, 17, 2)))).mean == 0


def test_a_head_box_decides_where_there_is_one(make_people, make_poses):
    points = np.random.default_rng(1).integers(0, 100, (1, 16, 2))
    truth = make_people(MPII16, points, head_box=np.array([[0.0, 0, 30, 40]]))  # size 0.6 x 50 = 30
    assert pckh_of_people(truth, make_poses(MPII16, points + np.array([15, 0]))).mean == 100
    assert pckh_of_people(truth, make_poses(MPII16, points + np.array([15.1, 0]))).mean == 0


def test_people_not_used_do_not_count(make_people, make_poses):
    points = np.random.default_rng(1).integers(0, 100, (2, 16, 2))
    truth = make_people(MPII16, points, use=np.array([True, False]), head_box=np.tile([0.0, 0, 30, 40], (2, 1)))
    assert pckh_of_people(truth, make_poses(MPII16, points[:1])).mean == 100


def test_the_official_release_file_has_its_own_head_boxes(tmp_path, make_poses):
    points = [point(k, 100 + 10 * k, 50 + k) for k in range(16) if k != MPII16.index("pelvis")]
    person = annotated(
        points, x1=1, y1=1, x2=31, y2=41, scale=1.0, objpos={"x": 150, "y": 60}
    )  # head size 0.6 x 50 = 30
    release = {
        "annolist": structs([{"image": {"name": "a.jpg"}, "annorect": structs([person])}]),
        "img_train": np.array([[1]]),
    }
    savemat(tmp_path / "release.mat", {"RELEASE": release})
    truth = read_mpii_release(tmp_path / "release.mat")
    predicted = truth.keypoints.copy()
    predicted[0, :, 1] += 15
    predicted[0, MPII16.index("head_top")] += 0.1
    found = pckh_of_people(truth, make_poses(MPII16, predicted, person=truth.person))
    assert found.groups["head"] == 0 and found.groups["ankle"] == 100 and np.isnan(found.keypoints["pelvis"])
    assert found.mean == found.mean_weighted == pytest.approx(100 * 13 / 14)
