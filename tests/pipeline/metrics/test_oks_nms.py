import numpy as np
import pytest

from pipeline.metrics.oks_nms import oks, oks_nms

SIGMAS = np.array([0.1, 0.05])
AREA = 100.0


def poses(*shifts):
    """Two keypoints at (0, 0) and (10, 0), moved to the right by so many pixels."""
    return np.array([[[0.0 + s, 0], [10.0 + s, 0]] for s in shifts])


def test_oks_by_hand():
    # d = 1, a = 100: exp(-1 / (200 x 0.04)) = exp(-1/8) and exp(-1 / (200 x 0.01)) = exp(-1/2); their mean.
    expected = (np.exp(-1 / 8) + np.exp(-1 / 2)) / 2
    found = oks(poses(0, 1), np.full(2, AREA), SIGMAS)
    np.testing.assert_allclose(found, [[1, expected], [expected, 1]])
    # areas 100 and 300: their mean, 200, halves the exponents
    wider = oks(poses(0, 1), np.array([100.0, 300.0]), SIGMAS)[0, 1]
    assert wider == pytest.approx((np.exp(-1 / 16) + np.exp(-1 / 4)) / 2)


def test_only_shared_keypoints_compare():
    points = poses(0, 1, 5)
    points[0, 1] = np.nan
    points[2] = np.nan
    found = oks(points, np.full(3, AREA), SIGMAS)
    assert found[0, 1] == pytest.approx(np.exp(-1 / 8))
    assert found[2].tolist() == [0, 0, 0] and found[0, 2] == 0


def test_the_best_of_poses_that_are_alike_stays():
    # Similarity is 0.744 at 1 px, 0.371 at 2 px.
    image_id, area = np.zeros(3, int), np.full(3, AREA)

    def stays(score, threshold):
        return oks_nms(image_id, poses(0, 1, 2), np.array(score), area, SIGMAS, threshold).tolist()

    assert stays([0.9, 0.8, 0.7], 0.7) == [True, False, True]  # the third is like the second, which is gone
    assert stays([0.8, 0.9, 0.7], 0.7) == [False, True, False]
    assert stays([0.9, 0.8, 0.7], 0.3) == [True, False, False]
    assert stays([0.9, 0.8, 0.7], 0.75) == [True, True, True]
    assert stays([0.5, 0.5, 0.5], 0.7) == [True, False, True]  # ties: the first row first


def test_other_images_do_not_matter_and_rows_keep_their_order():
    image_id = np.array([4, 2, 4, 2, 9])
    score = np.array([0.1, 0.9, 0.8, 0.2, 0.5])
    found = oks_nms(image_id, poses(0, 0, 0, 0, 0), score, np.full(5, AREA), SIGMAS)
    assert found.tolist() == [False, True, True, False, True]
    assert oks_nms(image_id[:0], poses()[:0].reshape(0, 2, 2), score[:0], np.zeros(0), SIGMAS).tolist() == []


def test_nine_tenths_is_the_default():
    # 0.9 lies between 0.5 px (0.926) and 0.6 px (0.896)
    area, score = np.full(2, AREA), np.array([0.9, 0.8])
    assert oks_nms(np.zeros(2, int), poses(0, 0.5), score, area, SIGMAS).tolist() == [True, False]
    assert oks_nms(np.zeros(2, int), poses(0, 0.6), score, area, SIGMAS).tolist() == [True, True]
