import pytest
import torch

from pipeline.training.augment import cut_out, recolored


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def crops(count=6, low=0, high=256, seed=9):
    return torch.randint(low, high, (count, 40, 30, 3), generator=stream(seed), dtype=torch.uint8)


def augmentations():
    yield "recolored", lambda images, seed: recolored(images, 0.3, stream(seed))
    yield "cut_out", lambda images, seed: cut_out(images.float(), 1.0, stream(seed))


@pytest.mark.parametrize("augment", [pytest.param(f, id=name) for name, f in augmentations()])
def test_randomness_is_the_argument(augment):
    images = crops()
    before = images.clone()
    assert torch.equal(augment(images, 1), augment(images, 1))
    assert not torch.equal(augment(images, 1), augment(images, 2))
    assert torch.equal(images, before)


def test_strength_zero_is_the_identity():
    # Three products and sums of float32 on 0-255: 255 x 6e-8, a few times.
    assert torch.allclose(recolored(crops(), 0.0, stream()), crops().float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_values_stay_between_0_and_255(strength):
    changed = recolored(crops(64), strength, stream())
    assert changed.shape == (64, 40, 30, 3)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
    assert not torch.allclose(changed, crops(64).float(), atol=1)


def test_contrast_keeps_the_mean_and_brightness_scales_it():
    """Values of 100-119 at strength 0.3 are never cut, so a crop's mean moves by its brightness alone: 0.7 to 1.3, 1 on average."""
    images = crops(400, 100, 120)
    weights = torch.tensor([0.299, 0.587, 0.114])
    before = (images.float() * weights).sum(dim=3).mean(dim=(1, 2))
    changed = recolored(images, 0.3, stream())
    factor = (changed * weights).sum(dim=3).mean(dim=(1, 2)) / before
    # Contrast turns about the mean of all channels, luma is a tenth of a value from it: under 0.001 of 110.
    assert float(factor.min()) == pytest.approx(0.7, abs=0.01)
    assert float(factor.max()) == pytest.approx(1.3, abs=0.01)
    assert float(factor.mean()) == pytest.approx(1, abs=3 * 0.3 / 3**0.5 / 400**0.5)  # three standard errors


def test_one_color_keeps_its_hue_and_grey_stays_grey():
    grey = torch.full((20, 8, 8, 3), 90, dtype=torch.uint8)
    changed = recolored(grey, 0.5, stream())
    assert torch.allclose(changed, changed[..., :1].expand_as(changed), atol=1e-3)
    assert torch.allclose(changed, changed[:, :1, :1].expand_as(changed), atol=1e-3)
    assert float(changed.mean(dim=(1, 2, 3)).std()) > 5


def test_each_crop_draws_its_own():
    same = crops(1).expand(5, -1, -1, -1)
    changed = recolored(same, 0.3, stream())
    assert len({round(float(image.mean()), 3) for image in changed}) == 5


def test_probability_zero_cuts_nothing():
    assert torch.equal(cut_out(crops().float(), 0.0, stream()), crops().float())


def test_probability_one_cuts_one_rectangle_in_each():
    """Sides are a fifth to two fifths, 20-40 of 100 pixels and 10-20 of 50 (one less or more where the grid falls); holes at
    the border lose up to half of each."""
    images = torch.rand(300, 100, 50, 3, generator=stream(5)) * 255
    changed = cut_out(images, 1.0, stream())
    hole = (changed != images).any(dim=3)
    rows, columns = hole.any(dim=2), hole.any(dim=1)
    assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
    for side, pixels in ((rows, 100), (columns, 50)):
        length = side.sum(dim=1)
        inside = ~side[:, 0] & ~side[:, -1]
        assert int(length.max()) <= 0.4 * pixels + 1
        assert 0.2 * pixels - 1 <= int(length[inside].min()) <= 0.2 * pixels + 1
        assert int(length.min()) >= 0.1 * pixels - 1
    share = hole.float().mean(dim=(1, 2))
    assert float(share.max()) <= 0.17
    for n in range(0, 300, 60):
        assert torch.allclose(changed[n][hole[n]], images[n].mean(dim=(0, 1)), atol=1e-3)


def test_probability_is_the_share_of_crops_with_a_hole():
    images = torch.rand(400, 16, 16, 3, generator=stream(5))
    cut = (cut_out(images, 0.3, stream()) != images).flatten(1).any(dim=1).float().mean()
    assert float(cut) == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / 400) ** 0.5)  # three standard errors
