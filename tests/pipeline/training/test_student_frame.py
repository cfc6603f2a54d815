"""Replay: stored targets of a teacher, whatever its frame and form, in the frame and form of a student that sees the same view.

The teachers here are Gaussians rendered at known image points under their own affine, in evenly spaced levels: what the store's
coarser ones below half the peak cost is in tests/pipeline/targets/test_quantise.py.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pipeline.pose.geometry import Regions, apply, compose, mirror_affine
from pipeline.pose.outputs import decode_keypoints, maps_and_scores
from pipeline.pose.skeletons import COCO17, HALPE26, MPII16, Skeleton, union
from pipeline.pose.spec import ARRAYS, NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BIN_AXES, MAP_AXES
from pipeline.training.batch import LoadedBatch, network_input
from pipeline.training.resample import gaussians, normalised_targets
from pipeline.training.student_frame import channels_for, labels_in_student_frame, targets_in_student_frame
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
    """Shift as a share of the region's size."""
    flipped: bool = False


STILL = Jitter()
MOVED = Jitter(0.87, (0.05, -0.04))
ENLARGED = Jitter(1.15, (-0.03, 0.05))
FLIPPED = Jitter(flipped=True)
ALL = Jitter(1.13, (0.04, 0.05), flipped=True)


def image_points(skeleton: Skeleton, within: float = 0.6, seed: int = 0) -> np.ndarray:
    """Return image points (B, K, 2) in the middle of the regions, `within` of their sides, so that all frames used here contain them."""
    random = np.random.default_rng(seed)
    offsets = random.uniform(-within / 2, within / 2, (len(REGIONS), len(skeleton), 2)) * REGIONS.size[:, None]
    turn = np.deg2rad(REGIONS.rotation)
    across = np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None] * offsets[..., :1]
    down = np.stack([-np.sin(turn), np.cos(turn)], axis=1)[:, None] * offsets[..., 1:]
    return REGIONS.center[:, None] + across + down


def taught(
    teacher: NetworkSpec, wh: tuple[int, int], points: np.ndarray, sigma: float = 1.5, regions: Regions = REGIONS
) -> TargetBlock:
    """Return the stored targets of a teacher whose maps are Gaussians at these image points (B, K, 2)."""
    image_from_target = teacher.image_from_target(regions, wh)
    there = torch.from_numpy(apply(inverse(image_from_target), points))
    if teacher.kind == "simcc":
        # Raw scores as RTMPose is trained to give them; the softmax makes them narrower by the root of 10 x 0.9.
        rows = [np.arange(count) - there.numpy()[..., axis, None] for axis, count in enumerate(wh)]
        raw = tuple(0.9 * np.exp(-((row / sigma) ** 2) / 2) for row in rows)
        arrays, score = maps_and_scores(raw, teacher)
    else:
        (maps,) = gaussians(there, wh, sigma, bins=False)
        arrays = (0.8 * (maps / maps.amax(dim=(2, 3), keepdim=True)).numpy(),)
        score = arrays[0].max(axis=(2, 3))
    axes = BIN_AXES if teacher.kind == "simcc" else MAP_AXES
    levels, peaks = zip(*(in_levels(values, axes) for values in arrays), strict=True)
    return TargetBlock(
        person=np.arange(4),
        levels={name: values[:, None] for name, values in zip(ARRAYS[teacher.kind], levels, strict=True)},
        peak=np.prod(peaks, axis=0).astype(np.float16)[:, None],
        score=score.astype(np.float16)[:, None],
        image_from_target=image_from_target[:, None],
    )


def in_levels(values: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return levels uint8 relative to each target's peak, zero below 2 % of it, and the peaks."""
    peak = values.max(axis=axes)
    share = values / np.expand_dims(peak, axes)
    return np.where(share < 0.02, 0, np.rint(255 * share)).astype(np.uint8), peak


def inverse(affines: np.ndarray) -> np.ndarray:
    """Return the inverse affines (B, 2, 3)."""
    return np.linalg.inv(np.concatenate([affines, [[[0, 0, 1]]] * len(affines)], axis=1))[:, :2]


def loaded(student: NetworkSpec, jitter: Jitter, points: np.ndarray) -> LoadedBatch:
    """Return the batch of a student that is shown the views with `jitter`; the labels are `points` (B, K, 2) in its skeleton's order."""
    regions = Regions(
        REGIONS.center + np.array(jitter.shift) * REGIONS.size, REGIONS.size * jitter.scale, REGIONS.rotation
    )
    affines = student.input_from_image(regions)
    return LoadedBatch(
        crops=np.zeros((4, student.input_wh[1], student.input_wh[0], 3), np.uint8),
        input_from_image=compose(mirror_affine(student.input_wh[0]), affines) if jitter.flipped else affines,
        flipped=np.full(4, jitter.flipped),
        keypoints=points,
        labelled=np.ones(points.shape[:2], bool),
        targets={},
        people=["somebody"] * 4,
    )


def image_from_student(batch: LoadedBatch, student: NetworkSpec, wh: tuple[int, int] = WH) -> np.ndarray:
    """Return affines (B, 2, 3) from student map pixels, or bins, to image pixels, by a hand-written inverse."""
    ratio = (np.array(wh) - 1) / (np.array(student.input_wh) - 1)
    if student.affine == "classic" or student.kind == "simcc":
        ratio = np.array(wh) / np.array(student.input_wh)
    linear = batch.input_from_image[:, :, :2] * ratio[:, None]
    shift = batch.input_from_image[:, :, 2] * ratio
    back = np.linalg.inv(linear)
    return np.concatenate([back, -(back @ shift[..., None])], axis=2)


def means(target: tuple[torch.Tensor, ...]) -> np.ndarray:
    """Return the centres of mass (B, K, 2), x and y, of distributions over maps (B, K, H, W) or over bins."""
    there = [part.double().numpy() for part in target]
    x, y = there if len(there) == 2 else (there[0].sum(axis=2), there[0].sum(axis=3))
    return np.stack([(row * np.arange(row.shape[2])).sum(axis=2) for row in (x, y)], axis=2)


def replayed(teacher, wh, student, jitter, min_score=0.05, student_wh=WH, sigma=1.5):
    points = image_points(teacher.skeleton)
    batch = loaded(student, jitter, image_points(student.skeleton))
    block = taught(teacher, wh, points, sigma)
    return (
        batch,
        points,
        block,
        targets_in_student_frame(batch, block, teacher.skeleton, student, student_wh, min_score, 1.0, CPU),
    )


@pytest.mark.parametrize("convention", ["udp", "classic"])
@pytest.mark.parametrize("padding", [1.0, 1.25])
def test_the_same_frame_gives_the_teachers_own_distribution(convention, padding):
    same = spec(affine=convention, padding=padding)
    _, _, block, supervision = replayed(same, WH, same, STILL)
    own = block.levels["heatmaps"][:, 0].astype(np.float64)
    own /= own.sum(axis=(2, 3), keepdims=True)
    # The affine and its inverse leave 1e-13 of a pixel, float32 maps 1e-7 of a value.
    assert np.allclose(supervision.target[0].numpy(), own, rtol=1e-6, atol=1e-9)
    assert supervision.valid.all()


@pytest.mark.parametrize("convention", ["udp", "classic"])
@pytest.mark.parametrize("padding", [1.0, 1.25])
def test_the_same_frame_gives_the_teachers_own_bins(convention, padding):
    same, wh = spec(kind="simcc", affine=convention, padding=padding), (192, 256)
    _, _, block, supervision = replayed(same, wh, same, STILL, student_wh=wh, sigma=5.66)
    for part, levels in zip(supervision.target, block.levels.values(), strict=True):
        own = levels[:, 0].astype(np.float64)
        own /= own.sum(axis=2, keepdims=True)
        assert np.allclose(part.numpy(), own, rtol=1e-6, atol=1e-9)
    assert supervision.valid.all()


def test_levels_are_worth_what_dequantised_maps_are():
    """A distribution does not depend on the peak: levels / sum(levels) equals the dequantised map / its sum."""
    _, _, block, supervision = replayed(STUDENT, WH, STUDENT, STILL)
    own = normalised_targets(tuple(map(torch.from_numpy, block.maps(slice(None), 0))))
    assert torch.allclose(supervision.target[0], own[0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_a_power(temperature):
    batch, _, block, plain = replayed(STUDENT, WH, STUDENT, STILL)
    result = targets_in_student_frame(batch, block, UNION, STUDENT, WH, 0.05, temperature, CPU)
    powered = plain.target[0].double() ** (1 / temperature)
    expected = powered / powered.sum(dim=(2, 3), keepdim=True)
    assert torch.allclose(result.target[0].double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_of_bins_is_a_power(temperature):
    same, wh = spec(kind="simcc"), (192, 256)
    batch, _, block, plain = replayed(same, wh, same, STILL, student_wh=wh, sigma=5.66)
    result = targets_in_student_frame(batch, block, COCO17, same, wh, 0.05, temperature, CPU)
    for part, before in zip(result.target, plain.target, strict=True):
        powered = before.double() ** (1 / temperature)
        assert torch.allclose(part.double(), powered / powered.sum(dim=2, keepdim=True), rtol=1e-4, atol=1e-6)


POSITION = 0.05
"""Heatmap pixels of the teacher, for the centre of mass of a replayed Gaussian in levels. Their dead zone cuts at 2.8
sigma, where one column more on one side weighs 0.02 / (2.5 sigma) x 2.8 sigma = 0.022; levels off by up to half of 1 / 255,
all to one side, 0.014 at sigma 1.5. Replay itself moves it by what a spline swings below zero and is cut: under 0.01."""


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
    assert np.allclose(supervision.target[0][supervision.valid].sum(dim=(1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("jitter", [STILL, ALL])
def test_decoded_keypoints_agree(name, jitter):
    """Peaks too agree in image pixels, within POSITION of a student's map pixel, which is no finer than 0.9 of the teacher's."""
    teacher, wh = TEACHERS[name]
    batch, points, _, supervision = replayed(teacher, wh, STUDENT, jitter)
    back = image_from_student(batch, STUDENT)
    decoded = decode_keypoints((supervision.target[0].numpy(),), back, STUDENT)
    channels = channels_for(UNION, teacher.skeleton, batch.flipped)
    there = np.take_along_axis(points, channels.clip(0)[..., None], axis=1)
    away = np.abs(decoded - there)[channels >= 0].reshape(4, -1, 2).max(axis=(1, 2))
    assert (away / np.abs(np.linalg.det(back[:, :, :2])) ** 0.5).max() < POSITION


TEACHERS_IN_BINS = {
    "bins": (spec(kind="simcc", affine="classic"), (192, 256)),
    "bins as RTMPose's": (spec(kind="simcc", affine="classic", input_wh=(192, 256), padding=1.25), (384, 512)),
    "bins, udp, square, wide": (spec(kind="simcc", input_wh=(256, 256), padding=1.5), (512, 512)),
}
STUDENTS = {
    "maps": (STUDENT, WH),
    "finer maps, classic": (spec(skeleton=UNION, affine="classic", input_wh=(192, 256)), (48, 64)),
    "bins": (spec(skeleton=UNION, kind="simcc", affine="classic"), (192, 256)),
    "bins, udp, wide": (spec(skeleton=UNION, kind="simcc", input_wh=(192, 256), padding=1.5), (384, 512)),
}

SIGMA = {"heatmap_logits": 1.5, "simcc": 5.66}
"""Of the teachers here: of maps in pixels, of scores over bins as RTMPose's are."""

TO_BINS = {
    # Its largest bin is off by half a bin of its own, and by half of the student's, which decodes to the bin. Where two bins are
    # within half a level, 0.4 % of the peak, the nearer one may lose: at sigma 5.66 / 3 that is 0.015 of a bin.
    "simcc": (0.5 + 0.05, 0.5),
    # The store's levels, and the bin.
    "heatmap_logits": (0.05, 0.5),
}
TO_MAPS = {
    # A parabola through a triangle of two pixels; the store's levels, in bins.
    "simcc": (0.05, 0.05),
    # The store's levels; the spline itself is off by a hundredth.
    "heatmap_logits": (0.05, 0.0),
}
"""By the teacher's kind, error of a decoded keypoint per axis: in target pixels, or bins, of the teacher, and of the student."""


@pytest.mark.parametrize("jitter", [STILL, MOVED, FLIPPED, ALL])
@pytest.mark.parametrize("student_name", STUDENTS)
@pytest.mark.parametrize("teacher_name", [*TEACHERS, *TEACHERS_IN_BINS])
def test_every_conversion_shows_the_keypoint_where_the_teacher_saw_it(teacher_name, student_name, jitter):
    """Centre of mass and decoded keypoint in the student's input pixels, maps and bins to maps and bins."""
    teacher, wh = (TEACHERS | TEACHERS_IN_BINS)[teacher_name]
    student, student_wh = STUDENTS[student_name]
    batch, points, block, supervision = replayed(
        teacher, wh, student, jitter, student_wh=student_wh, sigma=SIGMA[teacher.kind]
    )
    channels = channels_for(UNION, teacher.skeleton, batch.flipped)
    known = channels >= 0
    assert torch.equal(supervision.valid, torch.from_numpy(known))
    for part in supervision.target:
        assert np.allclose(part.flatten(2).sum(dim=2)[supervision.valid], 1, atol=1e-5)
    there = apply(batch.input_from_image, np.take_along_axis(points, channels.clip(0)[..., None], axis=1))
    back = compose(batch.input_from_image, image_from_student(batch, student, student_wh))
    student_pixel = np.abs(np.diagonal(back[:, :, :2], axis1=1, axis2=2))[:, None]
    theirs = compose(batch.input_from_image, block.image_from_target[:, 0])
    teacher_pixel = np.abs(np.diagonal(theirs[:, :, :2], axis1=1, axis2=2))[:, None]

    away = np.abs(apply(back, means(supervision.target)) - there)
    assert (away[known] <= np.broadcast_to(POSITION * teacher_pixel, away.shape)[known]).all()

    decoded = decode_keypoints(tuple(part.numpy() for part in supervision.target), back, student)
    of_teacher, of_student = (TO_BINS if student.kind == "simcc" else TO_MAPS)[teacher.kind]
    allowed = np.broadcast_to(of_teacher * teacher_pixel + of_student * student_pixel, away.shape)
    assert (np.abs(decoded - there)[known] <= allowed[known]).all()


@pytest.mark.parametrize("student_affine", ["udp", "classic"])
@pytest.mark.parametrize("teacher_affine", ["udp", "classic"])
@pytest.mark.parametrize("jitter", [STILL, ALL])
def test_truth_and_a_perfect_teacher_agree(student_affine, teacher_affine, jitter):
    student, teacher = spec(affine=student_affine), spec(affine=teacher_affine, padding=1.4)
    points = image_points(COCO17)
    batch = loaded(student, jitter, points)
    truth = labels_in_student_frame(batch, student, WH, 1.5, CPU)
    replay = targets_in_student_frame(batch, taught(teacher, WH, points), COCO17, student, WH, 0.05, 1.0, CPU)
    assert truth.valid.all()
    assert replay.valid.all()
    # Teacher pixels are at most 1.4 / 1.25 / 0.87 student pixels; the truth's own mean is exact this far inside the frame.
    assert np.abs(means(without_constant(truth.target)) - means(replay.target)).max() < POSITION * 1.3


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
    # A quarter pixel between pixels the spline swings below zero beside the store's dead zone, and is cut.
    for affine, centre, tolerance in (("udp", 23.0, 1e-4), ("classic", 23.75, 0.01)):
        student = spec(affine=affine)
        *_, upright = replayed(student, WH, student, STILL)
        *_, flipped = replayed(student, WH, student, FLIPPED)
        before = means(upright.target)[:, COCO17.mirror]
        assert np.abs(means(flipped.target)[..., 0] - (centre - before[..., 0])).max() < tolerance
        assert np.abs(means(flipped.target)[..., 1] - before[..., 1]).max() < tolerance
        reversed_maps = upright.target[0][:, COCO17.mirror].flip(3)
        assert torch.allclose(flipped.target[0], reversed_maps, atol=1e-6) == (affine == "udp")


def test_truth_is_flipped_with_the_image():
    points = image_points(COCO17)
    student = spec(affine="classic")
    upright, flipped = (
        labels_in_student_frame(loaded(student, jitter, points), student, WH, 0.8, CPU) for jitter in (STILL, FLIPPED)
    )
    left, right = COCO17.index("left_knee"), COCO17.index("right_knee")
    before, after = means(upright.target)[:, right], means(flipped.target)[:, left]
    assert np.allclose(after, np.array([23.75, 0.0]) + before * [-1.0, 1.0], atol=1e-5)


def test_one_batch_flips_each_person_on_its_own():
    batch, _, block, upright = replayed(STUDENT, WH, STUDENT, STILL)
    *_, flipped = replayed(STUDENT, WH, STUDENT, FLIPPED)
    mixed = np.array([False, True, False, True])
    affines = np.where(mixed[:, None, None], compose(mirror_affine(96), batch.input_from_image), batch.input_from_image)
    both = replace(batch, flipped=mixed, input_from_image=affines)
    result = targets_in_student_frame(both, block, UNION, STUDENT, WH, 0.05, 1.0, CPU)
    assert torch.equal(result.target[0][::2], upright.target[0][::2])
    assert torch.equal(result.target[0][1::2], flipped.target[0][1::2])


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


@pytest.mark.parametrize(("min_score", "valid"), [(0.4999, True), (0.5, False), (0.6, False)])
def test_scores_up_to_min_score_do_not_count(min_score, valid):
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    unsure = replace(block, score=np.full_like(block.score, 0.5))
    assert bool(targets_in_student_frame(batch, unsure, UNION, STUDENT, WH, min_score, 1.0, CPU).valid.all()) == valid
    assert bool(targets_in_student_frame(batch, unsure, UNION, STUDENT, WH, min_score, 1.0, CPU).valid.any()) == valid


def test_maps_of_zeros_are_not_valid():
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    levels = block.levels["heatmaps"].copy()
    levels[2, :, 5] = 0
    empty = replace(block, levels={"heatmaps": levels})
    supervision = targets_in_student_frame(batch, empty, UNION, STUDENT, WH, 0.0, 1.0, CPU)
    assert np.argwhere(~supervision.valid.numpy()).tolist() == [[2, 5]]
    assert not supervision.target[0][2, 5].any()


@pytest.mark.parametrize("student", ["maps", "bins"])
@pytest.mark.parametrize("empty", ["x", "y"])
def test_bins_of_zeros_are_not_valid(student, empty):
    """An all-zero row of one axis is enough."""
    teacher, wh = TEACHERS_IN_BINS["bins"]
    chosen, student_wh = STUDENTS[student]
    batch, _, block, _ = replayed(teacher, wh, chosen, STILL, student_wh=student_wh, sigma=5.66)
    levels = {axis: values.copy() for axis, values in block.levels.items()}
    levels[empty][2, :, 5] = 0
    result = targets_in_student_frame(batch, replace(block, levels=levels), COCO17, chosen, student_wh, 0.0, 1.0, CPU)
    assert np.argwhere(~result.valid[:, :17].numpy()).tolist() == [[2, 5]]
    assert all(torch.isfinite(part).all() for part in result.target)


def test_peaks_outside_the_students_frame_are_not_valid():
    """A student that is shown the middle half of the teacher's region: the teacher's pixels 0-23 are its 2 x - 11.5."""
    teacher, student = spec(padding=2.0), spec(padding=1.0)
    levels = np.zeros((4, 1, 17, 32, 24), np.uint8)
    columns = [0, 5, 6, 11, 17, 18, 23]  # -11.5, -1.5, 0.5, 10.5, 22.5, 24.5, 34.5
    for k, column in enumerate(columns):
        levels[:, 0, k, 16, column] = 255
    ones = np.ones((4, 1, 17), np.float16)
    block = TargetBlock(np.arange(4), {"heatmaps": levels}, ones, ones, teacher.image_from_target(REGIONS, WH)[:, None])
    batch = loaded(student, STILL, image_points(COCO17))
    supervision = targets_in_student_frame(batch, block, COCO17, student, WH, 0.0, 1.0, CPU)
    assert supervision.valid[:, :7].tolist() == [[False, False, True, True, True, False, False]] * 4


@pytest.mark.parametrize("axis", [0, 1], ids=["x", "y"])
def test_bins_outside_the_students_frame_are_not_valid(axis):
    """The middle half of a padding twice as wide, under `classic`: teacher bin b is student bin 2 b - 96 of 192 in x, - 128 of 256 in y."""
    teacher, student = (spec(kind="simcc", affine="classic", padding=padding) for padding in (2.0, 1.0))
    wh = (192, 256)
    quarter = wh[axis] // 4
    levels = {"x": np.zeros((4, 1, 17, 192), np.uint8), "y": np.zeros((4, 1, 17, 256), np.uint8)}
    levels["xy"[1 - axis]][..., wh[1 - axis] // 2] = 255
    places = [0, quarter - 1, quarter, 2 * quarter, 3 * quarter - 1, 3 * quarter, 4 * quarter - 1]
    for k, place in enumerate(places):
        levels["xy"[axis]][:, 0, k, place] = 255
    ones = np.ones((4, 1, 17), np.float16)
    block = TargetBlock(np.arange(4), levels, ones, ones, teacher.image_from_target(REGIONS, wh)[:, None])
    batch = loaded(student, STILL, image_points(COCO17))
    supervision = targets_in_student_frame(batch, block, COCO17, student, wh, 0.0, 1.0, CPU)
    assert supervision.valid[:, :7].tolist() == [[False, False, True, True, True, False, False]] * 4


def test_other_rotations_are_refused():
    batch, _, block, _ = replayed(STUDENT, WH, STUDENT, STILL)
    turned = Regions(REGIONS.center, REGIONS.size, REGIONS.rotation + np.array([0, 0, 5, 0]))
    other = replace(batch, input_from_image=STUDENT.input_from_image(turned))
    with pytest.raises(ValueError, match="rotated against each other"):
        targets_in_student_frame(other, block, UNION, STUDENT, WH, 0.0, 1.0, CPU)


def test_truth_is_valid_where_labelled_and_inside():
    """Keypoints at given map pixels; half a pixel beyond the first and last centre is still inside."""
    student = spec()
    batch = loaded(student, STILL, image_points(COCO17))
    there = np.full((4, 17, 2), 10.0)
    there[:, :6] = [[-0.49, 5], [-0.51, 5], [23.49, 5], [23.51, 5], [5, 31.49], [5, 31.51]]
    labelled = np.ones((4, 17), bool)
    labelled[:, 6] = False
    batch = replace(batch, keypoints=apply(image_from_student(batch, student), there), labelled=labelled)
    supervision = labels_in_student_frame(batch, student, WH, 0.8, CPU)
    assert supervision.valid[:, :8].tolist() == [[True, False, True, False, True, False, False, True]] * 4
    assert np.abs(means(supervision.target)[:, 7:] - 10).max() < 1e-4


def test_labels_are_swapped_with_the_flip():
    batch = loaded(STUDENT, FLIPPED, image_points(UNION))
    labelled = np.zeros((4, 21), bool)
    labelled[:, [UNION.index("left_hip"), UNION.index("thorax")]] = True
    supervision = labels_in_student_frame(replace(batch, labelled=labelled), STUDENT, WH, 0.8, CPU)
    valid = {UNION.keypoints[k] for k in np.flatnonzero(supervision.valid[0])}
    assert valid == {"right_hip", "thorax"}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_network_input_follows_the_spec(color):
    crops = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    chosen = spec(color=color)
    ours = network_input(torch.from_numpy(crops), chosen)
    assert ours.dtype == torch.float32
    assert np.allclose(ours.numpy(), chosen.normalised(crops), rtol=0, atol=1e-6)


def without_constant(target: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The bells of SimCC's labels alone: far from a keypoint its softmax leaves the same small share in every bin."""
    return normalised_targets(tuple(part - part.amin(dim=-1, keepdim=True) for part in target))


@pytest.mark.parametrize("jitter", [STILL, ALL])
def test_truth_over_bins_and_a_perfect_teacher_agree(jitter):
    """A teacher with wider padding; its bins are at most 1.4 / 1.25 / 0.87 of the student's."""
    student, teacher = spec(kind="simcc"), spec(kind="simcc", affine="classic", padding=1.4)
    points, wh = image_points(COCO17), (192, 256)
    batch = loaded(student, jitter, points)
    truth = labels_in_student_frame(batch, student, wh, 4.0, CPU)
    replay = targets_in_student_frame(batch, taught(teacher, wh, points, 5.66), COCO17, student, wh, 0.05, 1.0, CPU)
    assert truth.valid.all() and replay.valid.all()
    assert [part.shape for part in truth.target] == [(4, 17, 192), (4, 17, 256)]
    assert np.abs(means(without_constant(truth.target)) - means(replay.target)).max() < POSITION * 1.3


def test_truth_over_bins_is_valid_half_a_bin_beyond_the_last():
    student, wh = spec(kind="simcc"), (192, 256)
    batch = loaded(student, STILL, image_points(COCO17))
    there = np.full((4, 17, 2), 40.0)
    there[:, :4] = [[-0.49, 5], [-0.51, 5], [5, 255.49], [5, 255.51]]
    batch = replace(batch, keypoints=apply(image_from_student(batch, student, wh), there))
    supervision = labels_in_student_frame(batch, student, wh, 2.0, CPU)
    assert supervision.valid[:, :5].tolist() == [[True, False, True, False, True]] * 4
    assert np.abs(means(without_constant(supervision.target))[:, 4:] - 40).max() < 1e-4


def test_flipped_bins_are_mirrored_under_swapped_names_in_their_own_frame():
    """Input pixel x becomes 95 - x, so bin 2 x becomes 190 - 2 x: a plain reversal, 191 - 2 x, would be one bin off."""
    student, wh = spec(kind="simcc"), (192, 256)
    *_, upright = replayed(student, wh, student, STILL, student_wh=wh, sigma=5.66)
    *_, flipped = replayed(student, wh, student, FLIPPED, student_wh=wh, sigma=5.66)
    before = means(upright.target)[:, COCO17.mirror]
    assert np.abs(means(flipped.target) - (np.array([190.0, 0.0]) + before * [-1.0, 1.0])).max() < 1e-3


@pytest.mark.parametrize(("jitter", "limit"), [(MOVED, 0.01), (ENLARGED, 0.04)])
def test_sharpened_targets_are_those_of_a_sharper_teacher(jitter, limit):
    """Maps of sigma 1.2, squared: Gaussians of 1.2 over the root of 2. As total variation; a coarser pixel of 1.15 blurs a little.

    Squared before they are resampled, they would differ by 0.03 and 0.065.
    """
    points = image_points(UNION)
    batch = loaded(STUDENT, jitter, points)
    found = targets_in_student_frame(batch, taught(STUDENT, WH, points, 1.2), UNION, STUDENT, WH, 0.05, 0.5, CPU)
    (expected,) = labels_in_student_frame(batch, STUDENT, WH, 1.2 / 2**0.5 / jitter.scale, CPU).target
    assert found.valid.all()
    assert float((found.target[0] - expected).abs().sum(dim=(2, 3)).max() / 2) < limit


def off_by(skeleton: Skeleton) -> np.ndarray:
    """Return a random mistake (B, K, 2) for each person and keypoint, up to 6 image pixels."""
    return np.random.default_rng(5).uniform(-6, 6, (4, len(skeleton), 2))


@pytest.mark.parametrize("jitter", [STILL, ALL, FLIPPED])
@pytest.mark.parametrize("student_name", STUDENTS)
@pytest.mark.parametrize("teacher_name", ["classic", "fine", *TEACHERS_IN_BINS])
def test_a_corrected_teacher_agrees_with_the_labels(teacher_name, student_name, jitter):
    """The teacher's keypoints are displaced and moved back by image pixels; in flipped crops the names are swapped."""
    teacher, wh = (TEACHERS | TEACHERS_IN_BINS)[teacher_name]
    student, student_wh = STUDENTS[student_name]
    points, mistake = image_points(teacher.skeleton, within=0.4), off_by(teacher.skeleton)
    block = taught(teacher, wh, points + mistake, SIGMA[teacher.kind])
    batch = loaded(student, jitter, image_points(student.skeleton))
    found = targets_in_student_frame(
        batch, block, teacher.skeleton, student, student_wh, 0.05, 1.0, CPU, correction=-mistake.astype(np.float32)
    )
    channels = channels_for(UNION, teacher.skeleton, batch.flipped)
    known = channels >= 0
    assert torch.equal(found.valid, torch.from_numpy(known))
    there = apply(batch.input_from_image, np.take_along_axis(points, channels.clip(0)[..., None], axis=1))
    back = compose(batch.input_from_image, image_from_student(batch, student, student_wh))
    theirs = compose(batch.input_from_image, block.image_from_target[:, 0])
    teacher_pixel, student_pixel = (np.abs(np.diagonal(a[:, :, :2], axis1=1, axis2=2))[:, None] for a in (theirs, back))
    away = np.abs(apply(back, means(found.target)) - there)
    assert (away[known] <= np.broadcast_to(POSITION * teacher_pixel, away.shape)[known]).all()
    decoded = decode_keypoints(tuple(part.numpy() for part in found.target), back, student)
    of_teacher, of_student = (TO_BINS if student.kind == "simcc" else TO_MAPS)[teacher.kind]
    allowed = np.broadcast_to(of_teacher * teacher_pixel + of_student * student_pixel, away.shape)
    assert (np.abs(decoded - there)[known] <= allowed[known]).all()


def test_a_correction_can_bring_a_peak_into_the_frame_or_out_of_it():
    """The student is shown the middle half of the teacher's 96 x 128 of padding 2, whose pixel is 2.2 to 7.5 image pixels."""
    teacher, student = spec(padding=2.0), spec(padding=1.0)
    levels = np.zeros((4, 1, 17, 32, 24), np.uint8)
    levels[:, 0, :, 16, 4], levels[:, 0, 1, 16, 4], levels[:, 0, 1, 16, 12] = 255, 0, 255
    ones = np.ones((4, 1, 17), np.float16)
    block = TargetBlock(np.arange(4), {"heatmaps": levels}, ones, ones, teacher.image_from_target(REGIONS, WH)[:, None])
    batch = loaded(student, STILL, image_points(COCO17))
    pixel = block.image_from_target[:, 0, :, 0]
    correction = np.zeros((4, 17, 2))
    correction[:, 0], correction[:, 1] = 3 * pixel, 9 * pixel
    plain, corrected = (
        targets_in_student_frame(batch, block, COCO17, student, WH, 0.0, 1.0, CPU, correction=by).valid[:, :3].tolist()
        for by in (None, correction)
    )
    assert plain == [[False, True, False]] * 4
    assert corrected == [[True, False, False]] * 4
