import hashlib
from dataclasses import replace

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_coco
from pipeline.people.split import split_by_image


@pytest.fixture
def people(coco_document, write_json):
    """300 people, three each on 100 images."""
    one = read_coco(write_json(coco_document))
    many = one.rows(np.arange(300) % 3)
    return replace(many, image=np.array([f"{i // 3:04d}.jpg" for i in range(300)]), person=np.arange(300))


def test_sides_follow_from_the_hash(people):
    training, validation = split_by_image(people, 0.2, seed=3)
    assert np.array_equal(training, ~validation)
    for name in ("0000.jpg", "0042.jpg", "0099.jpg"):
        digest = hashlib.sha256(f"3:{name}".encode()).hexdigest()
        expected = int(digest[:16], 16) / 2**64 < 0.2
        assert set(validation[people.image == name].tolist()) == {expected}
    assert 10 <= validation.sum() / 3 <= 30  # 20 expected, standard deviation 4


def test_images_never_part_and_keep_their_side(people):
    _, validation = split_by_image(people, 0.3, seed=0)
    side = dict(zip(people.image.tolist(), validation.tolist(), strict=True))
    shuffled = people.rows(np.random.default_rng(0).permutation(300)[:150])
    _, again = split_by_image(shuffled, 0.3, seed=0)
    assert [side[name] for name in shuffled.image.tolist()] == again.tolist()
    _, other = split_by_image(people, 0.3, seed=1)
    assert not np.array_equal(validation, other)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_both_sides_have_an_image(people, fraction):
    two = people.rows(np.arange(6))
    training, validation = split_by_image(two, fraction, seed=0)
    assert (training.sum(), validation.sum()) == (3, 3)


def test_no_validation_and_nobody(people):
    assert not split_by_image(people, 0, seed=0)[1].any()
    training, validation = split_by_image(people.rows(np.arange(0)), 0.5, seed=0)
    assert training.shape == validation.shape == (0,)


@pytest.mark.parametrize("fraction", [1, -0.1, float("nan")])
def test_other_fractions_are_refused(people, fraction):
    with pytest.raises(UserError, match=f"expected 0 <= fraction < 1, found {fraction}"):
        split_by_image(people, fraction, seed=0)
