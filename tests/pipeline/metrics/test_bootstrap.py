import numpy as np
import pytest

from pipeline.metrics.bootstrap import Resamples, Score, draw_resamples, mean_score, ratio_score, resample_seeds


def test_a_resample_draws_as_many_images_as_there_are_again_and_again_the_same():
    image_id = np.array([7, 3, 7, 900, 3, 41])
    drawn = draw_resamples(image_id, 50, [1, 2])
    assert drawn.image_id.tolist() == [3, 7, 41, 900]
    assert drawn.counts.shape == (50, 4) and (drawn.counts.sum(axis=1) == 4).all()
    assert drawn.counts.max() > 1  # with replacement
    np.testing.assert_array_equal(drawn.counts, draw_resamples(image_id[::-1], 50, [1, 2]).counts)
    assert (drawn.counts != draw_resamples(image_id, 50, [1, 3]).counts).any()
    assert draw_resamples(image_id, 0, [1]).counts.shape == (0, 4)
    assert draw_resamples(image_id[:0], 5, [1]).counts.shape == (0, 0)
    assert draw_resamples(image_id[[0, 2]], 5, [1]).counts.shape == (0, 1)  # one image tells nothing about others


def test_rows_are_drawn_with_their_image():
    drawn = Resamples(np.array([3, 7, 41]), np.array([[2, 0, 1], [0, 3, 0]]))
    np.testing.assert_array_equal(drawn.counts_of(np.array([41, 3, 3])), [[1, 2, 2], [0, 0, 0]])
    assert drawn.counts_of(np.zeros(0, int)).shape == (2, 0)
    for foreign in (5, 99):
        with pytest.raises(ValueError, match="not among"):
            drawn.counts_of(np.array([3, foreign]))


def test_a_ratio_by_hand():
    drawn = Resamples(np.array([3, 7]), np.array([[2, 0], [0, 2], [1, 1]]))
    part, whole, image_id = np.array([1, 4, 0]), np.array([2, 5, 0]), np.array([3, 3, 7])
    found = ratio_score(part, whole, image_id, drawn)
    assert found.value == pytest.approx(5 / 7)
    np.testing.assert_allclose(found.resampled, [5 / 7, np.nan, 5 / 7])
    assert np.isnan(ratio_score(part[2:], whole[2:], image_id[2:], drawn).value)


def test_an_interval_holds_95_percent_and_skips_what_is_undefined():
    again = np.arange(1001.0)
    assert Score(500.0, again).interval == (25.0, 975.0)
    assert Score(500.0, np.append(again, np.nan)).scaled(0.1).interval == pytest.approx((2.5, 97.5))
    assert np.isnan(Score(1.0, np.zeros(0)).interval).all()


def test_the_interval_of_a_share_is_the_binomial_one():
    # 400 images with one keypoint each, half of them right: the share's standard error is sqrt(0.25 / 400) = 0.025. Of 4,000
    # resamples the 2.5th and 97.5th percentile scatter by 4 % of 1.96 errors; 10 % are allowed.
    right = np.arange(400) % 2
    found = ratio_score(right, np.ones(400), np.arange(400), draw_resamples(np.arange(400), 4000, [0]))
    low, high = found.interval
    assert found.value == 0.5
    assert 0.5 - low == pytest.approx(1.96 * 0.025, rel=0.1) and high - 0.5 == pytest.approx(1.96 * 0.025, rel=0.1)


def test_people_of_one_image_are_drawn_together():
    # Four people an image, all right or all wrong: as uncertain as 100 people, not as 400.
    right = np.repeat(np.arange(100) % 2, 4)
    image_id = np.repeat(np.arange(100), 4)
    found = ratio_score(right, np.ones(400), image_id, draw_resamples(image_id, 4000, [0]))
    assert found.resampled.std() == pytest.approx(0.05, rel=0.1)


def test_a_paired_difference_is_surer_than_both():
    random = np.random.default_rng(0)
    one = random.random(300) < 0.5
    other = one.copy()
    other[np.flatnonzero(~one)[:6]] = True
    drawn = draw_resamples(np.arange(300), 1000, [0])
    first, second = (ratio_score(right, np.ones(300), np.arange(300), drawn) for right in (one, other))
    difference = second.minus(first)
    assert difference.value == pytest.approx(6 / 300)
    low, high = difference.interval
    # Six of 300 images differ: a Poisson number of them is drawn, of 95 % probability from 2 to 11.
    assert 1 / 300 <= low <= 3 / 300 and 10 / 300 <= high <= 12 / 300
    assert first.interval[1] > second.interval[0]  # apart, the two could not be told


def test_a_mean_is_resampled_where_all_are():
    two = [Score(1.0, np.array([0.0, 2.0])), Score(3.0, np.array([5.0, 3.0]))]
    found = mean_score(two)
    assert found.value == 2 and found.resampled.tolist() == [2.5, 2.5]
    assert mean_score([*two, Score(5.0, np.zeros(0))]).resampled.tolist() == []
    assert np.isnan(mean_score([]).value)


@pytest.mark.parametrize("values", [[0.0, 2.0], [1.0, 2.0, 6.0], [3.0, 1.0, 4.0, 1.0, 5.0]])
def test_means_over_few_seeds_vary_as_much_as_those_of_other_seeds(values):
    by_seed = np.tile(np.array(values)[:, None], 20_000)
    drawn = resample_seeds(by_seed)
    assert drawn.mean() == pytest.approx(np.mean(values), abs=0.05)
    assert drawn.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), rel=0.02)


def test_one_seed_is_resampled_over_its_images_alone():
    by_image = np.random.default_rng(0).normal(size=(1, 50))
    assert np.array_equal(resample_seeds(by_image), by_image[0])
