from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.inference.devices import OpenSession
from pipeline.inference.session import Teacher, infer
from pipeline.inference.soft_targets import empty_targets, run_teacher, write_targets
from pipeline.people.views import draw_views
from pipeline.pose.geometry import apply
from pipeline.pose.spec import ARRAYS
from tests.pipeline.examples import people, spec

SPEC = spec(input_wh=(12, 16), kind="heatmap")
WH = {"heatmap": (6, 8), "simcc": (12, 16)}


class Session:
    """Stands in for ONNX Runtime's: map k of a crop is its red channel at every second pixel, over k + 1; bins, one per pixel, are
    the red channel of the middle row and column, over k + 1."""

    def __init__(self, spoil=None):
        self.sizes, self.spoil = [], spoil
        self.outputs: list[str] = []

    def get_inputs(self):
        return [SimpleNamespace(name="crops", type="tensor(float)")]

    def io_binding(self):
        self.outputs = []
        return self

    def bind_ortvalue_input(self, name, value):
        assert name == "crops"
        self.crops = value.numpy()

    def bind_output(self, name, device, number):
        assert (device, number) == ("cpu", 0)
        self.outputs.append(name)

    def run_with_iobinding(self, binding):
        assert binding is self
        self.sizes.append(len(self.crops))

    def copy_outputs_to_cpu(self):
        red, over = self.crops[:, :1], np.arange(1, 18, dtype=np.float32)[:, None]
        made = {
            "heatmaps": red[:, :, ::2, ::2] / over[..., None],
            "x": red[:, :, 8] / over,
            "y": red[:, :, :, 6] / over,
        }
        return [self.spoil(made[name]) if self.spoil else made[name] for name in self.outputs]


def teacher(batch=None, spoil=None, kind="heatmap", **changes):
    opened = OpenSession(Session(spoil), "CPUExecutionProvider", "")
    chosen = spec(input_wh=(12, 16), kind=kind, **changes)
    return Teacher("tiny", chosen, Path("tiny.onnx"), "", "float32", opened, batch, ARRAYS[kind], WH[kind])


EVERYONE = people(7)
VIEWS = draw_views(EVERYONE, 3, seed=0)
RANDOM = np.random.default_rng(0)
CROPS = {row: RANDOM.integers(130, 256, (3, 16, 12, 3), dtype=np.uint8) for row in (2, 3, 5)}
"""Of three of the rows 2-6, lighter than the mean, so that every map has a peak."""


def targets_of(one, everyone, views, rows, crops, batch=64):
    """Targets of the people `rows`; `crops` has those of the people in use."""
    own = views.rows(rows)
    some = everyone.rows(np.arange(len(everyone))[rows])
    block = empty_targets(one, some, own)
    if crops:
        inputs = one.spec.normalised(np.concatenate(list(crops.values())))
        write_targets(block, np.array(list(crops)) - rows.start, run_teacher(one, inputs, batch), one, some)
    return block


def assert_levels(levels, share):
    """Within half a level from half the peak on; below by half of the largest step, (2 sqrt(1 / 2) + 1 / 24) / 24 of 255, and a level."""
    assert (np.abs(levels - share * 255) <= np.where(share > 0.5, 0.5 + 1e-3, 17)).all()


def test_levels_peaks_and_scores_by_hand():
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert list(block.levels) == ["heatmaps"]
    levels = block.levels["heatmaps"]
    assert levels.shape == (5, 3, 17, 8, 6)
    red = (CROPS[3][1, ::2, ::2, 0].astype(np.float64) - 120) / 60
    assert_levels(levels[1, 1, 4], red / red.max())
    assert block.peak[1, 1, 4] == np.float16(red.max() / 5)
    assert block.score[1, 1, 0] == np.float16(min(red.max(), 1))
    assert block.person.tolist() == EVERYONE.person[2:7].tolist()
    assert (block.peak.dtype, block.score.dtype) == (np.float16, np.float16)


def test_bins_peaks_and_scores_by_hand():
    """Softmax of ten times the score, each axis over its own peak; the peak is that of the product, the score the smaller maximum."""
    block = targets_of(teacher(kind="simcc"), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert {axis: values.shape for axis, values in block.levels.items()} == {"x": (5, 3, 17, 12), "y": (5, 3, 17, 16)}
    red = (CROPS[3][1, :, :, 0].astype(np.float64) - 120) / 60 / 5
    peaks = []
    for axis, row in (("x", red[8]), ("y", red[:, 6])):
        bins = np.exp(10 * row) / np.exp(10 * row).sum()
        assert_levels(block.levels[axis][1, 1, 4], bins / bins.max())
        peaks.append(bins.max())
    # Two roundings of float16, one for each factor.
    assert block.peak[1, 1, 4] == pytest.approx(peaks[0] * peaks[1], rel=2 * 2.0**-11)
    assert block.score[1, 1, 4] == np.float16(min(red[8].max(), red[:, 6].max()))
    assert (block.peak.dtype, block.score.dtype) == (np.float16, np.float16)


def test_affines_of_bins_are_those_of_whole_pixels():
    """One bin a pixel: the crop's own affine, under `udp` as well."""
    block = targets_of(teacher(kind="simcc"), EVERYONE, VIEWS, slice(2, 7), CROPS)
    for i, row in enumerate(range(2, 7)):
        for view in range(3):
            centre = apply(block.image_from_target[i, view], np.array([[5.5, 7.5]]))
            assert np.allclose(centre, VIEWS.center[row, view])


@pytest.mark.parametrize("kind", WH)
def test_people_without_crops_are_all_zero(kind):
    block = targets_of(teacher(kind=kind), EVERYONE, VIEWS, slice(2, 7), CROPS)
    for unused in (2, 4):
        assert not any(levels[unused].any() for levels in block.levels.values())
        assert not block.peak[unused].any()
        assert not block.score[unused].any()
    assert block.peak[[0, 1, 3]].all()
    nobody = targets_of(teacher(kind=kind), EVERYONE, VIEWS, slice(0, 2), {})
    assert list(nobody.levels) == list(block.levels)
    assert not any(levels.any() for levels in nobody.levels.values())


def test_affines_are_those_of_rows_and_views():
    block = targets_of(teacher(), EVERYONE, VIEWS, slice(2, 7), CROPS)
    for i, row in enumerate(range(2, 7)):
        for view in range(3):
            centre = apply(block.image_from_target[i, view], np.array([[2.5, 3.5]]))
            assert np.allclose(centre, VIEWS.center[row, view])


@pytest.mark.parametrize("kind", WH)
@pytest.mark.parametrize("batch", [1, 3, 4, 7, 64])
def test_the_batch_size_changes_nothing(batch, kind):
    expected = targets_of(teacher(kind=kind), EVERYONE, VIEWS, slice(2, 7), CROPS)
    block = targets_of(teacher(kind=kind), EVERYONE, VIEWS, slice(2, 7), CROPS, batch)
    for name in ("peak", "score", "image_from_target"):
        assert np.array_equal(getattr(block, name), getattr(expected, name))
    assert all(np.array_equal(block.levels[name], levels) for name, levels in expected.levels.items())


@pytest.mark.parametrize("kind", WH)
def test_flip_shows_the_teacher_both_images(kind):
    """Nine crops, twice."""
    plain = targets_of(teacher(kind=kind), EVERYONE, VIEWS, slice(2, 7), CROPS)
    flipping = teacher(kind=kind, flip=True)
    block = targets_of(flipping, EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert sum(flipping.runtime.session.sizes) == 18
    assert all((block.levels[name] != levels).any() for name, levels in plain.levels.items())


def test_flip_averages_left_and_right():
    """Crops that are their own mirror images, red 1 but for a border: eyes, maps 1 and 2, get the mean of 1 / 2 and 1 / 3 of it."""
    crops = np.full((3, 16, 12, 3), 180, np.uint8)
    crops[:, :, [0, 1, -2, -1]] = 130
    block = targets_of(teacher(flip=True), EVERYONE, VIEWS, slice(3, 4), {3: crops})
    assert np.allclose(block.peak[0, :, :3], [1, 5 / 12, 5 / 12], rtol=2.0**-11)


@pytest.mark.parametrize(("fixed", "sizes"), [(None, [4, 4, 1]), (5, [5, 5]), (9, [9])])
def test_short_batches_are_filled_up_for_files_of_a_fixed_size(fixed, sizes):
    crops = np.concatenate(list(CROPS.values()))
    one = teacher(fixed)
    (maps,) = infer(one, crops, batch=4)
    assert one.runtime.session.sizes == sizes
    assert np.allclose(maps[:, 0], (crops[:, ::2, ::2, 0].astype(float) - 120) / 60, atol=1e-6)


def test_color_order_is_the_specs():
    (maps,) = infer(teacher(color="bgr"), CROPS[2], batch=4)
    assert np.allclose(maps[:, 0], (CROPS[2][:, ::2, ::2, 2].astype(float) - 120) / 60, atol=1e-6)


def one_nan(maps):
    return np.where(np.arange(maps.size).reshape(maps.shape) == 7, np.nan, maps)


def infinite(maps):
    return maps / 0.0


def constant(maps):
    return np.ones_like(maps)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (one_nan, "NaN or infinite values"),
        (infinite, "NaN or infinite values"),
        (constant, "a constant for every keypoint"),
    ],
)
@pytest.mark.parametrize("kind", WH)
def test_nonsense_names_teacher_and_person(spoil, what, kind):
    with np.errstate(divide="ignore"), pytest.raises(UserError) as error:
        targets_of(teacher(spoil=spoil, kind=kind), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert f"teacher tiny (tiny.onnx): expected {kind} output, found {what} for person 114 in 001.png" in str(
        error.value
    )


def test_nonsense_in_one_axis_is_enough():
    """y has 16 bins here."""
    with pytest.raises(UserError, match=r"found NaN or infinite values for person 114 in 001\.png"):
        targets_of(
            teacher(spoil=lambda bins: bins * np.nan if bins.shape[2] == 16 else bins, kind="simcc"),
            EVERYONE,
            VIEWS,
            slice(2, 7),
            CROPS,
        )


def test_the_first_person_with_nonsense_is_named():
    def last(maps):
        return np.concatenate([maps[:-1], maps[-1:] * np.nan])

    with pytest.raises(UserError, match=r"for person 135 in 002\.png"):
        targets_of(teacher(spoil=last), EVERYONE, VIEWS, slice(2, 7), CROPS)


def test_one_flat_map_among_others_is_no_nonsense():
    def flat(maps):
        return np.where(np.arange(17)[:, None, None] == 3, np.float32(0.25), maps)

    block = targets_of(teacher(spoil=flat), EVERYONE, VIEWS, slice(2, 7), CROPS)
    assert (block.levels["heatmaps"][0, 0, 3] == 255).all()
