from dataclasses import dataclass, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.people.views import draw_views
from pipeline.pose.crops import crop
from pipeline.pose.geometry import Regions, apply, compose, diagonal, invert, mirror_affine
from pipeline.pose.skeletons import COCO17, MPII16, union
from pipeline.targets.block import TargetBlock
from stages.training.loader import CropJitter, Loader, TrainingSource, epoch_order
from tests.pipeline.examples import people, spec

CHUNK = 64
"""Repeated here, because the view that a person is shown in follows from it."""
ALL_KINDS = ("plain", "strong", "weak")
UNION = replace(union([COCO17, MPII16]), name="unified")
SPEC = spec(skeleton=UNION, input_wh=(32, 64), padding=1.0)
NO_JITTER = CropJitter(fresh_rotation=None, weak_from=10**6, scale=0.0, shift=0.0, flip=0.0)
MOVED = replace(NO_JITTER, scale=0.2, shift=0.1, flip=0.5)


@dataclass(frozen=True)
class Store:
    """A stand-in for a target store whose targets encode the person, the row and the view."""

    ids: np.ndarray
    keypoints: int
    tails: dict[str, tuple[int, ...]]
    """Return one target of each array."""

    @property
    def layout(self):
        return SimpleNamespace(people=len(self.ids))

    def read(self, rows, view):
        shape = (rows.stop - rows.start, 1, self.keypoints)
        row = np.arange(rows.start, rows.stop)
        return TargetBlock(
            person=self.ids[rows],
            levels={
                name: np.broadcast_to((row % 251)[(...,) + (None,) * (2 + len(tail))], (*shape, *tail)).astype(np.uint8)
                for name, tail in self.tails.items()
            },
            peak=np.full(shape, view, np.float16),
            score=np.full(shape, 0.5, np.float16),
            image_from_target=np.broadcast_to(np.eye(3)[:2], (shape[0], 1, 2, 3)),
        )


MAPS, BINS = {"heatmaps": (4, 3)}, {"x": (6,), "y": (8,)}


def source(name, count, skeleton=COCO17, folder=None, views=4, stores=(), seed=0, unused=()):
    everyone = people(count, skeleton, seed=seed)
    use = ~np.isin(np.arange(count), unused)
    everyone = replace(everyone, use=use)
    held = {teacher: Store(everyone.person, 17, BINS if teacher == "two" else MAPS) for teacher in stores}
    return TrainingSource(name, folder, everyone, draw_views(everyone, views, seed), held)


def images(folder, count):
    """Write images of noise, 300 x 200, as `examples.people` has them."""
    random = np.random.default_rng(0)
    for n in range(count):
        assert cv2.imwrite(str(folder / f"{n:03d}.png"), random.integers(0, 256, (200, 300, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    images(path, 25)
    return path


@pytest.fixture
def sources(folder):
    """Return 50 people of 17 keypoints and 20 of 16, two and one of them not in use; teacher one has maps, teacher two bins."""
    return [
        source("coco", 50, folder=folder, stores=("one", "two"), unused=(3, 40)),
        source("mpii", 20, MPII16, folder, stores=("one", "two"), seed=1, unused=(19,)),
    ]


@pytest.fixture
def long_sources():
    """Return sources with people for several chunks, 250 and 150 of them, all but three in use; the images are missing."""
    return [
        source("coco", 250, stores=("one", "two"), unused=(3, 140)),
        source("mpii", 150, MPII16, stores=("one", "two"), seed=1, unused=(149,)),
    ]


def loader(sources, jitter=NO_JITTER, batch=8, seed=5):
    return Loader(sources, SPEC, batch, jitter, seed, image_bytes=1e7)


def same(one, other):
    arrays = ("crops", "input_from_image", "flipped", "keypoints", "labelled")
    blocks = ("person", "peak", "score", "image_from_target")
    return (
        one.people == other.people
        and all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)
        and one.targets.keys() == other.targets.keys()
        and all(
            np.array_equal(getattr(one.targets[t], b), getattr(other.targets[t], b))
            for t in one.targets
            for b in blocks
        )
        and all(
            np.array_equal(one.targets[t].levels[name], other.targets[t].levels[name])
            for t in one.targets
            for name in one.targets[t].levels
        )
    )


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_has_everybody_in_use_once(long_sources, epoch):
    order = epoch_order(long_sources, epoch, ALL_KINDS, seed=0)
    expected = {(s, row) for s, there in enumerate(long_sources) for row in np.flatnonzero(there.people.use)}
    assert len(order) == 397
    assert {(s, row) for s, row, _ in order.tolist()} == expected


@pytest.mark.parametrize(
    ("kinds", "shown"), [(ALL_KINDS, (0, 1, 2, 3)), (("plain", "weak"), (0, 3)), (("plain",), (0,))]
)
def test_chunk_c_shows_view_epoch_plus_c(long_sources, kinds, shown):
    for epoch in range(5):
        for _, row, view in epoch_order(long_sources, epoch, kinds, seed=0).tolist():
            assert view == shown[(epoch + row // CHUNK) % len(shown)]


def test_in_v_epochs_everybody_is_shown_in_every_view(long_sources):
    seen = {
        tuple(entry) for epoch in range(3, 7) for entry in epoch_order(long_sources, epoch, ALL_KINDS, seed=0).tolist()
    }
    assert len(seen) == 397 * 4


def test_order_follows_from_seed_and_epoch(long_sources):
    order = epoch_order(long_sources, 2, ALL_KINDS, seed=0)
    assert np.array_equal(order, epoch_order(long_sources, 2, ALL_KINDS, seed=0))
    for other in (epoch_order(long_sources, 3, ALL_KINDS, seed=0), epoch_order(long_sources, 2, ALL_KINDS, seed=1)):
        assert not np.array_equal(order[:, :2], other[:, :2])
    # People of the two datasets and of several chunks follow one another: no long runs of one.
    assert len(set(map(tuple, np.column_stack([order[:12, 0], order[:12, 1] // CHUNK]).tolist()))) >= 4


def test_the_last_steps_show_the_same_people_in_plain_and_weak_views(sources):
    """Step 4 of 8 people is still in the first epoch of 67; from there on the order continues with other views."""
    before, after = loader(sources), loader(sources, replace(NO_JITTER, weak_from=4))
    assert same(before.load(3), after.load(3))
    assert before.load(4).people == after.load(4).people
    seen = {view for step in range(4, 17) for view in after.load(step).targets["one"].peak[:, 0, 0].tolist()}
    assert seen == {0.0, 3.0}


def test_batches_do_not_depend_on_what_was_loaded_before(sources):
    fresh = [loader(sources, MOVED).load(step) for step in (9, 0, 20)]
    used = loader(sources, MOVED)
    for step in (20, 3, 0, 9):
        used.load(step)
    for step, expected in zip((9, 0, 20), fresh, strict=True):
        assert same(used.load(step), expected)
    assert not same(loader(sources, MOVED, seed=6).load(9), fresh[0])


@pytest.mark.parametrize("workers", [1, 3])
def test_the_stream_is_the_batches_in_order(sources, workers):
    one = loader(sources, MOVED)
    streamed = list(loader(sources, MOVED).stream(2, 9, workers))
    assert len(streamed) == 7
    assert all(same(batch, one.load(step)) for step, batch in enumerate(streamed, 2))
    assert list(one.stream(4, 4, workers)) == []


def test_batches_run_on_over_the_epoch(sources):
    """Nine batches of 8 are 72 people: all 67 and the next epoch's first five."""
    one = loader(sources)
    shown = [person for step in range(9) for person in one.load(step).people]
    assert len(set(shown[:67])) == 67
    expected = epoch_order(sources, 1, ALL_KINDS, seed=5)[:5]
    assert shown[67:] == [
        f"{sources[s].name} person {sources[s].people.person[row]}" for s, row, _ in expected.tolist()
    ]


def test_everything_in_a_batch_is_of_the_same_person_and_view(sources):
    one = loader(sources)
    for step in range(9):
        batch, entries = one.load(step), one._entries(step)
        for i, (s, row, view) in enumerate(entries.tolist()):
            there = sources[s]
            affine = SPEC.input_from_image(there.views.regions(row, view))
            assert np.array_equal(batch.input_from_image[i], affine[0])
            assert batch.people[i] == f"{there.name} person {there.people.person[row]}"
            bgr = cv2.imread(str(there.images / there.people.image[row]))
            assert np.array_equal(batch.crops[i], crop(bgr[:, :, ::-1].copy(), affine, (32, 64))[0])
            for block in batch.targets.values():
                assert block.person[i] == there.people.person[row]
                assert all((levels[i] == row % 251).all() for levels in block.levels.values())
                assert (block.peak[i] == view).all()
            shapes = [
                {name: levels.shape for name, levels in batch.targets[teacher].levels.items()}
                for teacher in ("one", "two")
            ]
            assert shapes == [{"heatmaps": (8, 1, 17, 4, 3)}, {"x": (8, 1, 17, 6), "y": (8, 1, 17, 8)}]


@pytest.mark.parametrize("teacher", ["one", "two"])
def test_targets_of_every_chunk_are_of_their_people_and_views(long_sources, teacher):
    order = epoch_order(long_sources, 1, ALL_KINDS, seed=0)
    block = loader(long_sources)._stored_targets(teacher, order)
    ids = [there.people.person for there in long_sources]
    assert block.person.tolist() == [ids[s][row] for s, row, _ in order]
    assert np.array_equal(block.peak[:, 0, 0], order[:, 2])
    assert all(
        np.array_equal(levels[:, 0, 0].reshape(397, -1)[:, 0], order[:, 1] % 251) for levels in block.levels.values()
    )


def test_keypoints_are_found_by_name(sources):
    one = loader(sources)
    for step in range(9):
        batch, entries = one.load(step), one._entries(step)
        for i, (s, row, _) in enumerate(entries.tolist()):
            there = sources[s].people
            for k, keypoint in enumerate(UNION.keypoints):
                assert batch.labelled[i, k] == (keypoint in there.skeleton.keypoints)
                if batch.labelled[i, k]:
                    expected = there.keypoints[row, there.skeleton.index(keypoint)]
                    assert np.array_equal(batch.keypoints[i, k], expected)


def jitter(sources, batch, entries, i):
    """Return the scale of the region and the shift of its centre, as shares of its size, with the mirror undone."""
    s, row, view = entries[i]
    regions = sources[s].views.regions(row, view)
    affine = batch.input_from_image[i]
    upright = compose(mirror_affine(32), affine) if batch.flipped[i] else affine
    (scale,), _ = diagonal(compose(upright, invert(SPEC.input_from_image(regions))))
    middle = apply(invert(upright), np.array([[15.5, 31.5]]))
    return 1 / scale, ((middle - regions.center) / regions.size)[0]


def test_jitter_and_flip_stay_in_their_limits(sources):
    one = loader(sources, MOVED)
    scales, shifts, flips = [], [], []
    for step in range(20):
        batch, entries = one.load(step), one._entries(step)
        flips += batch.flipped.tolist()
        for i in range(8):
            scale, shift = jitter(sources, batch, entries, i)
            assert scale[0] == pytest.approx(scale[1])
            scales.append(scale[0])
            shifts.append(shift)
    # Of 160 even draws some are in the outer tenth of the range: 1 - 0.95^160 = 0.9997.
    assert 0.8 <= min(scales) <= 0.82 and 1.18 <= max(scales) <= 1.2
    assert 0.09 <= np.abs(shifts).max() <= 0.1
    assert np.mean(flips) == pytest.approx(0.5, abs=3 * 0.5 / 160**0.5)  # three standard errors


def test_a_flipped_crop_is_the_mirror_image_of_the_upright_one(sources):
    upright = loader(sources).load(1)
    flipped = loader(sources, replace(NO_JITTER, flip=1.0)).load(1)
    assert flipped.flipped.all()
    # OpenCV interpolates at 1/32 of a pixel, which mirrored falls on another 1/32: 255 levels of noise x 1/32, x and y.
    assert np.abs(flipped.crops[:, :, ::-1].astype(int) - upright.crops).max() <= 2 * 255 / 32
    assert np.array_equal(flipped.keypoints, upright.keypoints)  # image pixels: the affine alone knows
    assert np.array_equal(flipped.labelled, upright.labelled)
    inside = apply(upright.input_from_image, upright.keypoints)
    mirrored = apply(flipped.input_from_image, flipped.keypoints)
    assert np.allclose(mirrored, np.array([31.0, 0.0]) + inside * [-1.0, 1.0], atol=1e-9)


def test_fresh_views_are_other_ones_each_time(sources):
    alone = [replace(there, stores={}) for there in sources]
    fresh = loader(alone, replace(NO_JITTER, fresh_rotation=20.0, weak_from=9))
    first, second = fresh.load(0), fresh.load(9)  # 72 people on: others, or the same in other views
    assert first.targets == {}
    assert same(first, loader(alone, replace(NO_JITTER, fresh_rotation=20.0, weak_from=9)).load(0))
    turns = [np.degrees(np.arctan2(a[0, 1], a[0, 0])) for step in range(9) for a in fresh.load(step).input_from_image]
    assert 19 < np.abs(turns).max() <= 20 + 1e-9
    settled = [
        np.degrees(np.arctan2(a[0, 1], a[0, 0])) for step in range(9, 18) for a in fresh.load(step).input_from_image
    ]
    assert 14 < np.abs(settled).max() <= 15 + 1e-9
    assert not np.array_equal(first.input_from_image, second.input_from_image)


def test_a_missing_image_is_named(sources, tmp_path):
    with pytest.raises(UserError, match=r"\.png"):
        loader([replace(sources[0], images=tmp_path)]).load(0)


def test_regions_are_those_of_the_views(sources):
    """The affine that the tests above use, by hand: an upright view of 40 x 60 around (50, 70) in an input of 32 x 64."""
    regions = Regions(np.array([[50.0, 70.0]]), np.array([[40.0, 60.0]]), np.zeros(1))
    affine = SPEC.input_from_image(regions)[0]
    # 40 / 32 x 64 = 80 high; 31 pixels between centres span 40.
    assert np.allclose(apply(affine, np.array([[30.0, 30.0], [70.0, 110.0]])), [[0, 0], [31, 63]])
