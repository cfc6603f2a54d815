from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.frames import apply
from pipeline.teachers.session import Teacher, infer
from pipeline.teachers.targets import targets_of
from pipeline.views import draw_views
from tests.pipeline.examples import people, spec

SPEC = spec(input_wh=(12, 16), kind="heatmap")
WH = (6, 8)


class Session:
    """Stands in for ONNX Runtime's: map k of a crop is its red channel at every second pixel, over k + 1."""

    def __init__(self, spoil=None):
        self.sizes, self.spoil = [], spoil

    def get_inputs(self):
        return [SimpleNamespace(name="crops")]

    def run(self, _, feeds):
        crops = feeds["crops"]
        self.sizes.append(len(crops))
        maps = crops[:, :1, ::2, ::2] / np.arange(1, 18, dtype=np.float32)[:, None, None]
        return [self.spoil(maps) if self.spoil else maps]


def teacher(batch=None, spoil=None, **changes):
    session = Session(spoil)
    return Teacher(
        "tiny", spec(input_wh=(12, 16), kind="heatmap", **changes), Path("tiny.onnx"), "", "", batch, WH, session
    )


EVERYONE = people(7)
VIEWS = draw_views(EVERYONE, 3, seed=0)
RANDOM = np.random.default_rng(0)
CROPS = {row: RANDOM.integers(130, 256, (3, 16, 12, 3), dtype=np.uint8) for row in (2, 3, 5)}
"""Of three of the rows 2-6, lighter than the mean, so that every map has a peak."""


def test_levels_peaks_and_scores_by_hand():
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert block.levels.shape == (5, 3, 17, 8, 6)
    red = (CROPS[3][1, ::2, ::2, 0].astype(np.float64) - 120) / 60
    assert np.abs(block.levels[1, 1, 4] - red / red.max() * 255).max() <= 0.5 + 1e-3
    assert block.peak[1, 1, 4] == np.float16(red.max() / 5)
    assert block.score[1, 1, 0] == np.float16(min(red.max(), 1))
    assert block.person.tolist() == EVERYONE.person[2:7].tolist()


def test_people_without_crops_are_all_zero():
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    for unused in (2, 4):
        assert not block.levels[unused].any()
        assert not block.peak[unused].any()
        assert not block.score[unused].any()
    assert block.peak[[0, 1, 3]].all()
    nobody = targets_of(teacher(), EVERYONE, VIEWS, slice(0, 2), {})
    assert not nobody.levels.any()


def test_affines_are_those_of_rows_and_views():
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    for i, row in enumerate(range(2, 7)):
        for view in range(3):
            centre = apply(block.image_from_target[i, view], np.array([[2.5, 3.5]]))
            assert np.allclose(centre, VIEWS.center[row, view])


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 64])
def test_the_batch_size_changes_nothing(batch):
    expected = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS, batch)
    for name in ("levels", "peak", "score", "image_from_target"):
        assert np.array_equal(getattr(block, name), getattr(expected, name))


@pytest.mark.parametrize(("fixed", "sizes"), [(None, [4, 4, 1]), (5, [5, 5]), (9, [9])])
def test_short_batches_are_filled_up_for_files_of_a_fixed_size(fixed, sizes):
    crops = np.concatenate(list(CROPS.values()))
    one = teacher(fixed)
    maps = infer(one, crops, batch=4)
    assert one.session.sizes == sizes
    assert np.allclose(maps[:, 0], (crops[:, ::2, ::2, 0].astype(float) - 120) / 60, atol=1e-6)


def test_color_order_is_the_specs():
    maps = infer(teacher(color="bgr"), CROPS[2], batch=4)
    assert np.allclose(maps[:, 0], (CROPS[2][:, ::2, ::2, 2].astype(float) - 120) / 60, atol=1e-6)


def one_nan(maps):
    return np.where(np.arange(maps.size).reshape(maps.shape) == 7, np.nan, maps)


def infinite(maps):
    return maps / 0.0


def constant(maps):
    return np.ones_like(maps)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(one_nan, "NaN or infinite values"), (infinite, "NaN or infinite values"), (constant, "a constant in every map")],
)
def test_nonsense_names_teacher_and_person(spoil, what):
    with np.errstate(divide="ignore"), pytest.raises(UserError) as error:
        targets_of(teacher(spoil=spoil), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert f"teacher tiny (tiny.onnx): expected heatmaps, found {what} for person 114 in 001.png" in str(error.value)


def test_the_first_person_with_nonsense_is_named():
    def last(maps):
        return np.concatenate([maps[:-1], maps[-1:] * np.nan])

    with pytest.raises(UserError, match=r"for person 135 in 002\.png"):
        targets_of(teacher(spoil=last), EVERYONE, VIEWS, slice(2, 7), CROPS)


def test_one_flat_map_among_others_is_no_nonsense():
    def flat(maps):
        return np.where(np.arange(17)[:, None, None] == 3, np.float32(0.25), maps)

    block = targets_of(teacher(spoil=flat), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert (block.levels[0, 0, 3] == 255).all()
