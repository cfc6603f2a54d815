"""Conversion of labels and of teachers' stored targets into the student's frame: its crop, keypoint order and pixels or bins (torch)."""

import numpy as np
import torch

from pipeline.pose.geometry import compose, diagonal, invert
from pipeline.pose.skeletons import Skeleton
from pipeline.pose.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import LEVELS
from pipeline.training.batch import LoadedBatch, on_device
from pipeline.training.losses import Supervision
from pipeline.training.resample import gaussians, normalised_targets, resample_targets, target_sums
from pipeline.training.simcc_labels import simcc_labels


def channels_for(student: Skeleton, teacher: Skeleton, flipped: np.ndarray) -> np.ndarray:
    """Return the teacher's channel that supervises each keypoint of the student, int (B, K), -1 for none.

    Where a crop is flipped, bool (B,), it is the channel of the mirrored keypoint: the student's left wrist learns from the
    teacher's right one.
    """
    upright = student.positions_in(teacher)
    mirror = Skeleton("mirrored", tuple(student.flipped(k) for k in student.keypoints)).positions_in(teacher)
    return np.where(flipped[:, None], mirror, upright)


def labels_in_student_frame(
    batch: LoadedBatch,
    student: NetworkSpec,
    target_wh: tuple[int, int],
    sigma: float | tuple[float, float],
    device: torch.device,
) -> Supervision:
    """Return the labels as distributions in the student's frame, valid where labelled and inside that frame.

    They are Gaussians of `sigma` heatmap pixels, or SimCC's labels of `sigma` bins of x and of y (pipeline.training.simcc_labels).
    """
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    points = batch.keypoints @ target_from_image[:, :, :2].transpose(0, 2, 1) + target_from_image[:, None, :, 2]
    mirror = student.skeleton.mirror
    flipped = batch.flipped[:, None]
    points = np.where(flipped[..., None], points[:, mirror], points)
    labelled = np.where(flipped, batch.labelled[:, mirror], batch.labelled)
    inside = ((points >= -0.5) & (points <= np.array(target_wh) - 0.5)).all(axis=-1)
    centres = torch.from_numpy(points).to(device, torch.float32)
    sigma_xy = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if student.kind == "simcc":
        target: tuple[torch.Tensor, ...] = simcc_labels(centres, target_wh, sigma_xy, student.factor)
    else:
        target = gaussians(centres, target_wh, sigma_xy[0], bins=False)
    return Supervision(target, torch.from_numpy(labelled & inside).to(device))


def targets_in_student_frame(
    batch: LoadedBatch,
    block: TargetBlock,
    teacher: Skeleton,
    student: NetworkSpec,
    target_wh: tuple[int, int],
    min_score: float,
    temperature: float,
    device: torch.device,
    correction: np.ndarray | None = None,
) -> Supervision:
    """Resample a teacher's stored targets into the student's frame and raise them to 1 / temperature (below 1 sharpens them).

    They are raised after the resampling, because narrow maps are resampled less precisely. Where maps become bins or bins become
    maps they are raised before it, because a power of sums is not the sum of the powers.

    A keypoint is valid where the teacher knows it, its score is above `min_score`, and its peak lies inside the student's frame.
    `correction` (B, teacher's K, 2) moves the teacher's keypoints by that many image pixels. ValueError where the student's view is
    rotated against the teacher's.
    """
    channels = channels_for(student.skeleton, teacher, batch.flipped)
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    student_from_teacher = compose(target_from_image, block.image_from_target[:, 0])
    scale, shift = diagonal(invert(student_from_teacher))
    moved = None
    if correction is not None:
        in_image = np.take_along_axis(correction, channels.clip(0)[..., None], axis=1)
        moved = in_image @ np.swapaxes(invert(block.image_from_target[:, 0])[:, :, :2], 1, 2)
        shift = shift[:, None] - moved

    rows = torch.arange(len(channels), device=device)[:, None]
    channel = torch.from_numpy(channels).to(device)

    def per_student_keypoint(values: np.ndarray) -> torch.Tensor:
        return on_device(values, device)[rows, channel.clamp(min=0)]

    levels = tuple(per_student_keypoint(values[:, 0]) for values in block.levels.values())
    score = per_student_keypoint(block.score[:, 0].astype(np.float32))
    inside = _inside(_peaks(levels), student_from_teacher, moved, target_wh)
    bins = student.kind == "simcc"
    raised_last = bins == (len(levels) == 2)
    sources = tuple((values / LEVELS) ** (1.0 if raised_last else 1 / temperature) for values in levels)
    targets = resample_targets(
        sources, torch.from_numpy(scale).to(device), torch.from_numpy(shift).to(device), target_wh, bins
    )
    if raised_last:
        targets = tuple(target ** (1 / temperature) for target in targets)
    nonzero = torch.stack([target_sums(target).flatten(1) > 0 for target in targets]).all(dim=0)
    return Supervision(normalised_targets(targets), (channel >= 0) & inside & (score > min_score) & nonzero, score)


def _inside(
    peaks: torch.Tensor, student_from_teacher: np.ndarray, moved: np.ndarray | None, wh: tuple[int, int]
) -> torch.Tensor:
    """Return whether peaks (B, K, 2) in teacher pixels, once moved, lie inside the student's frame of `wh` pixels, bool (B, K)."""
    affine = torch.from_numpy(student_from_teacher).to(peaks.device)
    corrected = peaks if moved is None else peaks + torch.from_numpy(moved).to(peaks.device)
    points = (corrected[:, :, None] * affine[:, None, :, :2]).sum(dim=-1) + affine[:, None, :, 2]
    limit = torch.tensor(wh, device=peaks.device) - 0.5
    return ((points >= -0.5) & (points <= limit)).all(dim=-1)


def _peaks(levels: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the positions (B, K, 2), x and y in pixels or bins, of the largest values of maps, or of the bins of x and of y."""
    if len(levels) == 2:
        return torch.stack([axis.argmax(dim=-1) for axis in levels], dim=-1)
    width = levels[0].shape[-1]
    flat = levels[0].flatten(2).argmax(dim=2)
    return torch.stack([flat % width, flat // width], dim=-1)
