"""Replay: stored maps of a teacher, whatever its frame, in the frame of a student that sees the same view.

The teachers here are Gaussians rendered at known picture points under their own affine, then quantised as the store does.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pipeline.frames import Regions, apply, compose, mirror
from pipeline.outputs import keypoints
from pipeline.skeletons import COCO17, HALPE26, MPII16, Skeleton, union
from pipeline.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.distributions import gaussian_distributions, normalised
from pipeline.targets.quantise import dequantise, quantise
from pipeline.training.batch import (
    LoadedBatch,
    channels_for,
    network_input,
    teacher_in_frame,
    truth_in_frame,
)
from tests.pipeline.examples import spec

CPU = torch.device("cpu")
UNION = replace(union([COCO17, MPII16]), name="unified")
WH = (24, 32)
"""The student's maps: a quarter of its input of 96 x 128."""
STUDENT = spec(skeleton=UNION)

REGIONS = Regions(
    center=np.array([[150.0, 120.0], [80.0, 95.0], [210.0, 60.0], [120.0, 130.0]]),
    size=np.array([[60.0, 140.0], [90.0, 100.0], [150.0, 70.0], [40.0, 90.0]]),
    rotation=np.array([0.0, 30.0, -75.5, 180.0]),
)
"""Four people, each in a view with a rotation of its own."""

TEACHERS = {
    "unpadded": (spec(padding=1.0), (24, 32)),
    "wide": (spec(padding=1.5), (24, 32)),
    "square": (spec(input_wh=(128, 128), padding=1.25), (32, 32)),
    "classic": (spec(affine="classic"), (24, 32)),
    "fine": (spec(input_wh=(192, 256)), (48, 64)),
    "finer, classic, square, wide": (spec(input_wh=(256, 256), affine="classic", padding=1.5), (64, 64)),
}


@dataclass(frozen=True)
class Jitter:
    """Changes of the student's region on top of the view."""

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    """Share of the region's size."""
    flipped: bool = False


STILL = Jitter()
MOVED = Jitter(0.87, (0.05, -0.04))
ENLARGED = Jitter(1.15, (-0.03, 0.05))
FLIPPED = Jitter(flipped=True)
ALL = Jitter(1.13, (0.04, 0.05), flipped=True)


def picture_points(skeleton: Skeleton, within: float = 0.6, seed: int = 0) -> np.ndarray:
    """Picture points (B, K, 2) in the middle of the regions, `within` of their sides: inside every frame used here."""
    random = np.random.default_rng(seed)
    offsets = random.uniform(-within / 2, within / 2, (len(REGIONS), len(skeleton), 2)) * REGIONS.size[:, None]
    turn = np.deg2rad(REGIONS.rotation)
    across = np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None] * offsets[..., :1]
    down = np.stack([-np.sin(turn), np.cos(turn)], axis=1)[:, None] * offsets[..., 1:]
    return REGIONS.center[:, None] + across + down


def taught(teacher: NetworkSpec, wh: tuple[int, int], points: np.ndarray, sigma: float = 1.5) -> TargetBlock:
    """What the store holds of a teacher that sees Gaussians at those picture points (B, K, 2)."""
    image_from_target = teacher.image_from_target(REGIONS, wh)
    there = apply(np.linalg.inv(np.concatenate([image_from_target, [[[0, 0, 1]]] * 4], axis=1))[:, :2], points)
    maps = gaussian_distributions(torch.from_numpy(there), wh, sigma).numpy()
    levels, peak = quantise(0.8 * maps / maps.max(axis=(2, 3), keepdims=True))
    return TargetBlock(
        person=np.arange(4),
        levels=levels[:, None],
        peak=peak[:, None],
        score=peak[:, None],
        image_from_target=image_from_target[:, None],
    )


def loaded(student: NetworkSpec, jitter: Jitter, points: np.ndarray) -> LoadedBatch:
    """The batch of a student that sees the views with `jitter`; the labels are `points` (B, K, 2) in its skeleton's order."""
    regions = Regions(
        REGIONS.center + np.array(jitter.shift) * REGIONS.size, REGIONS.size * jitter.scale, REGIONS.rotation
    )
    affines = student.input_from_image(regions)
    return LoadedBatch(
        crops=np.zeros((4, student.input_wh[1], student.input_wh[0], 3), np.uint8),
        input_from_image=compose(mirror(student.input_wh[0]), affines) if jitter.flipped else affines,
        flipped=np.full(4, jitter.flipped),
        keypoints=points,
        labelled=np.ones(points.shape[:2], bool),
        targets={},
        people=["somebody"] * 4,
    )


def image_from_student(batch: LoadedBatch, student: NetworkSpec, wh: tuple[int, int] = WH) -> np.ndarray:
    """Affines (B, 2, 3), by a hand-written inverse: student map pixels to picture pixels."""
    ratio = (np.array(wh) - 1) / (np.array(student.input_wh) - 1)
    if student.affine == "classic":
        ratio = np.array(wh) / np.array(student.input_wh)
    linear = batch.input_from_image[:, :, :2] * ratio[:, None]
    shift = batch.input_from_image[:, :, 2] * ratio
    back = np.linalg.inv(linear)
    return np.concatenate([back, -(back @ shift[..., None])], axis=2)


def means(maps: torch.Tensor) -> np.ndarray:
    """Centres of mass (B, K, 2) of distributions (B, K, H, W), as x, y."""
    there = maps.double().numpy()
    x = (there.sum(axis=2) * np.arange(there.shape[3])).sum(axis=2)
    y = (there.sum(axis=3) * np.arange(there.shape[2])).sum(axis=2)
    return np.stack([x, y], axis=2)


def replayed(teacher, wh, student, jitter, floor=0.05):
    points = picture_points(teacher.skeleton)
    batch = loaded(student, jitter, picture_points(student.skeleton))
    block = taught(teacher, wh, points)
    return batch, points, block, teacher_in_frame(batch, block, teacher.skeleton, student, WH, floor, 1.0, CPU)


@pytest.mark.parametrize("convention", ["udp", "classic"])
@pytest.mark.parametrize("padding", [1.0, 1.25])
def test_the_same_frame_gives_the_teachers_own_distribution(convention, padding):
    same = spec(affine=convention, padding=padding)
    _, _, block, supervision = replayed(same, WH, same, STILL)
    own = block.levels[:, 0].astype(np.float64)
    own /= own.sum(axis=(2, 3), keepdims=True)
    # The affine and its inverse leave 1e-13 of a pixel, float32 maps 1e-7 of a value.
    assert np.allclose(supervision.target.numpy(), own, rtol=1e-6, atol=1e-9)
    assert supervision.valid.all()


def test_levels_are_worth_what_dequantised_maps_are():
    """The peak falls out of a distribution: levels / sum(levels) is the dequantised map / its sum."""
    _, _, block, supervision = replayed(STUDENT, WH, STUDENT, STILL)
    maps = torch.from_numpy(dequantise(block.levels[:, 0], block.peak[:, 0]))
    assert torch.allclose(supervision.target, normalised(maps), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_a_power(temperature):
    batch, _, block, plain = replayed(STUDENT, WH, STUDENT, STILL)
    result = teacher_in_frame(batch, block, UNION, STUDENT, WH, 0.05, temperature, CPU)
    powered = plain.target.double() ** (1 / temperature)
    assert torch.allclose(result.target.double(), powered / powered.sum(dim=(2, 3), keepdim=True), rtol=1e-4, atol=1e-6)


POSITION = 0.05
"""Heatmap pixels of the teacher, for the centre of mass of a stored and replayed Gaussian. The store's dead zone cuts at 2.8
sigma, where one column more on one side weighs 0.02 / (2.5 sigma) x 2.8 sigma = 0.022; levels off by up to half of 1 / 255,
all to one side, 0.014 at sigma 1.5. Replay itself shares pixels out in proportion, which moves no centre of mass where the
student's grid is coarser, and where it is finer by 0.01."""


@pytest.mark.parametrize("jitter", [STILL, MOVED, ENLARGED, FLIPPED, ALL])
@pytest.mark.parametrize("name", TEACHERS)
def test_every_frame_shows_the_keypoint_where_the_teacher_saw_it(name, jitter):
    teacher, wh = TEACHERS[name]
    batch, points, block, supervision = replayed(teacher, wh, STUDENT, jitter)
    back = image_from_student(batch, STUDENT)
    seen = apply(back, means(supervision.target))
    teacher_pixel = np.linalg.norm(block.image_from_target[:, 0, :, 0], axis=1)[:, None]
    for k, keypoint in enumerate(UNION.keypoints):
        shown = UNION.keypoints[UNION.mirror[k]] if jitter.flipped else keypoint
        if shown in teacher.skeleton.keypoints:
            away = np.linalg.norm(seen[:, k] - points[:, teacher.skeleton.index(shown)], axis=1)
            assert supervision.valid[:, k].all()
            assert (away / teacher_pixel[:, 0]).max() < POSITION * np.sqrt(2)
        else:
            assert not supervision.valid[:, k].any()
    assert np.allclose(supervision.target[supervision.valid].sum(dim=(1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("jitter", [STILL, ALL])
def test_decoded_keypoints_agree(name, jitter):
    """Peaks, too, in picture pixels: within 0.35 of a student's map pixel.

    Linear interpolation puts the tops of finer maps on the teacher's own pixels' lines, and shares of coarser ones ripple by
    a tenth, which at sigma 1.5 moves a parabola by up to 2.25 x 0.1 x 1.5.
    """
    teacher, wh = TEACHERS[name]
    batch, points, _, supervision = replayed(teacher, wh, STUDENT, jitter)
    back = image_from_student(batch, STUDENT)
    decoded = keypoints(supervision.target.numpy(), back, "heatmap_logits", "udp")
    channels = channels_for(UNION, teacher.skeleton, batch.flipped)
    there = np.take_along_axis(points, channels.clip(0)[..., None], axis=1)
    away = np.abs(decoded - there)[channels >= 0].reshape(4, -1, 2).max(axis=(1, 2))
    assert (away / np.abs(np.linalg.det(back[:, :, :2])) ** 0.5).max() < 0.35


@pytest.mark.parametrize("student_affine", ["udp", "classic"])
@pytest.mark.parametrize("teacher_affine", ["udp", "classic"])
@pytest.mark.parametrize("jitter", [STILL, ALL])
def test_truth_and_a_perfect_teacher_agree(student_affine, teacher_affine, jitter):
    student, teacher = spec(affine=student_affine), spec(affine=teacher_affine, padding=1.4)
    points = picture_points(COCO17)
    batch = loaded(student, jitter, points)
    truth = truth_in_frame(batch, student, WH, 1.5, CPU)
    replay = teacher_in_frame(batch, taught(teacher, WH, points), COCO17, student, WH, 0.05, 1.0, CPU)
    assert truth.valid.all()
    assert replay.valid.all()
    # Teacher pixels are at most 1.4 / 1.25 / 0.87 student pixels; the truth's own mean is exact this far inside the frame.
    assert np.abs(means(truth.target) - means(replay.target)).max() < POSITION * 1.3


def test_flipped_maps_are_mirrored_under_swapped_names():
    batch, points, _, supervision = replayed(STUDENT, WH, STUDENT, FLIPPED)
    upright = loaded(STUDENT, STILL, batch.keypoints)
    in_upright_map = np.linalg.inv(np.concatenate([image_from_student(upright, STUDENT), [[[0, 0, 1]]] * 4], axis=1))[
        :, :2
    ]
    right_wrist = apply(in_upright_map, points)[:, UNION.index("right_wrist")]
    shown = means(supervision.target)[:, UNION.index("left_wrist")]
    assert np.abs(shown - (np.array([23.0, 0.0]) + right_wrist * [-1.0, 1.0])).max() < POSITION


def test_flipping_udp_maps_reverses_them_and_flipping_classic_ones_does_not():
    """Input pixel x becomes 95 - x; map pixel x is input 95 / 23 x under `udp`, so 23 - x, but 4 x under `classic`: 23.75 - x."""
    for affine, centre, tolerance in (("udp", 23.0, 1e-4), ("classic", 23.75, 1e-4)):
        student = spec(affine=affine)
        *_, upright = replayed(student, WH, student, STILL)
        *_, flipped = replayed(student, WH, student, FLIPPED)
        before = means(upright.target)[:, COCO17.mirror]
        assert np.abs(means(flipped.target)[..., 0] - (centre - before[..., 0])).max() < tolerance
        assert np.abs(means(flipped.target)[..., 1] - before[..., 1]).max() < tolerance
        reversed_maps = upright.target[:, COCO17.mirror].flip(3)
        assert torch.allclose(flipped.target, reversed_maps, atol=1e-6) == (affine == "udp")


def test_truth_is_flipped_with_the_picture():
    points = picture_points(COCO17)
    student = spec(affine="classic")
    upright, flipped = (
        truth_in_frame(loaded(student, jitter, points), student, WH, 0.8, CPU) for jitter in (STILL, FLIPPED)
    )
    left, right = COCO17.index("left_knee"), COCO17.index("right_knee")
    before, after = means(upright.target)[:, right], means(flipped.target)[:, left]
    assert np.allclose(after, np.array([23.75, 0.0]) + before * [-1.0, 1.0], atol=1e-5)


def test_one_batch_flips_each_person_on_its_own():
    batch, _, block, upright = replayed(STUDENT, WH, STUDENT, STILL)
    *_, flipped = replayed(STUDENT, WH, STUDENT, FLIPPED)
    mixed = np.array([False, True, False, True])
    affines = np.where(mixed[:, None, None], compose(mirror(96), batch.input_from_image), batch.input_from_image)
    both = replace(batch, flipped=mixed, input_from_image=affines)
    result = teacher_in_frame(both, block, UNION, STUDENT, WH, 0.05, 1.0, CPU)
    assert torch.equal(result.target[::2], upright.target[::2])
    assert torch.equal(result.target[1::2], flipped.target[1::2])


def test_channels_follow_names():
    channels = channels_for(UNION, MPII16, np.array([False, True]))
    for (row, flipped), (k, keypoint) in itertools.product(enumerate([False, True]), enumerate(UNION.keypoints)):
        shown = UNION.keypoints[UNION.mirror[k]] if flipped else keypoint
        expected = MPII16.keypoints.index(shown) if shown in MPII16.keypoints else -1
        assert channels[row, k] == expected
    thorax = channels_for(UNION, HALPE26, np.array([False]))[0, UNION.index("thorax")]
    assert thorax == -1


def test_keypoints_the_teacher_lacks_are_not_valid():
    *_, supervision = replayed(spec(skeleton=MPII16), WH, STUDENT, STILL)
    unknown = {UNION.keypoints[k] for k in np.flatnonzero(~supervision.valid.numpy().any(axis=0))}
    assert unknown == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    assert supervision.valid.sum() == 4 * 16


@pytest.mark.parametrize(("floor", "valid"), [(0.4999, True), (0.5, False), (0.6, False)])
def test_scores_up_to_the_floor_do_not_count(floor, valid):
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    unsure = replace(block, score=np.full_like(block.score, 0.5))
    assert bool(teacher_in_frame(batch, unsure, UNION, STUDENT, WH, floor, 1.0, CPU).valid.all()) == valid
    assert bool(teacher_in_frame(batch, unsure, UNION, STUDENT, WH, floor, 1.0, CPU).valid.any()) == valid


def test_maps_of_zeros_are_not_valid():
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    levels = block.levels.copy()
    levels[2, :, 5] = 0
    supervision = teacher_in_frame(batch, replace(block, levels=levels), UNION, STUDENT, WH, 0.0, 1.0, CPU)
    assert np.argwhere(~supervision.valid.numpy()).tolist() == [[2, 5]]
    assert not supervision.target[2, 5].any()


def test_peaks_outside_the_students_frame_are_not_valid():
    """A student that sees the middle half of what the teacher saw: the teacher's pixels 0-23 are its 2 x - 11.5."""
    teacher, student = spec(padding=2.0), spec(padding=1.0)
    levels = np.zeros((4, 1, 17, 32, 24), np.uint8)
    columns = [0, 5, 6, 11, 17, 18, 23]  # -11.5, -1.5, 0.5, 10.5, 22.5, 24.5, 34.5
    for k, column in enumerate(columns):
        levels[:, 0, k, 16, column] = 255
    ones = np.ones((4, 1, 17), np.float16)
    block = TargetBlock(np.arange(4), levels, ones, ones, teacher.image_from_target(REGIONS, WH)[:, None])
    batch = loaded(student, STILL, picture_points(COCO17))
    supervision = teacher_in_frame(batch, block, COCO17, student, WH, 0.0, 1.0, CPU)
    assert supervision.valid[:, :7].tolist() == [[False, False, True, True, True, False, False]] * 4


def test_other_rotations_are_refused():
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    turned = Regions(REGIONS.center, REGIONS.size, REGIONS.rotation + np.array([0, 0, 5, 0]))
    other = replace(batch, input_from_image=STUDENT.input_from_image(turned))
    with pytest.raises(ValueError, match="rotated against each other"):
        teacher_in_frame(other, block, UNION, STUDENT, WH, 0.0, 1.0, CPU)


def test_truth_is_valid_where_labelled_and_inside():
    """Keypoints at given map pixels; half a pixel beyond the first and last centre is still inside."""
    student = spec()
    batch = loaded(student, STILL, picture_points(COCO17))
    there = np.full((4, 17, 2), 10.0)
    there[:, :6] = [[-0.49, 5], [-0.51, 5], [23.49, 5], [23.51, 5], [5, 31.49], [5, 31.51]]
    labelled = np.ones((4, 17), bool)
    labelled[:, 6] = False
    batch = replace(batch, keypoints=apply(image_from_student(batch, student), there), labelled=labelled)
    supervision = truth_in_frame(batch, student, WH, 0.8, CPU)
    assert supervision.valid[:, :8].tolist() == [[True, False, True, False, True, False, False, True]] * 4
    assert np.abs(means(supervision.target)[:, 7:] - 10).max() < 1e-4


def test_labels_are_swapped_with_the_flip():
    batch = loaded(STUDENT, FLIPPED, picture_points(UNION))
    labelled = np.zeros((4, 21), bool)
    labelled[:, [UNION.index("left_hip"), UNION.index("thorax")]] = True
    supervision = truth_in_frame(replace(batch, labelled=labelled), STUDENT, WH, 0.8, CPU)
    valid = {UNION.keypoints[k] for k in np.flatnonzero(supervision.valid[0])}
    assert valid == {"right_hip", "thorax"}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_network_input_is_what_the_spec_says(color):
    crops = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    chosen = spec(color=color)
    ours = network_input(torch.from_numpy(crops), chosen)
    assert ours.dtype == torch.float32
    assert np.allclose(ours.numpy(), chosen.normalised(crops), rtol=0, atol=1e-6)
