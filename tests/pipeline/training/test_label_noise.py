import numpy as np

from pipeline.training.label_noise import NOISE_DEVIATION, add_label_noise, drop_labels
from tests.pipeline.examples import people


def test_that_share_of_the_people_loses_every_label_and_the_rest_none():
    before = people(50)
    after = drop_labels(before, 0.8, np.random.default_rng(0))
    bare = ~after.labelled.any(axis=1)
    assert bare.sum() == 40
    assert np.array_equal(after.labelled[~bare], before.labelled[~bare])
    assert np.array_equal(after.keypoints[~bare], before.keypoints[~bare])
    assert not after.keypoints[bare].any()
    assert np.array_equal(after.use, before.use)


def test_that_share_of_the_labels_moves_by_a_tenth_of_the_box():
    before = people(400)
    after = add_label_noise(before, 0.2, np.random.default_rng(0))
    side = before.box[:, 2:].max(axis=1)[:, None, None]
    step = (after.keypoints - before.keypoints) / side
    moved = step.any(axis=2)
    labels = int(before.labelled.sum())
    # Four standard deviations of a binomial count, and of a sample's standard deviation.
    assert abs(moved.sum() - 0.2 * labels) < 4 * np.sqrt(0.16 * labels)
    assert abs(step[moved].std() - NOISE_DEVIATION) < 4 * NOISE_DEVIATION / np.sqrt(4 * moved.sum())
    assert not moved[~before.labelled].any()
    assert np.array_equal(after.labelled, before.labelled)
