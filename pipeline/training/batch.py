"""From loaded people to what a network trains on: normalised crops, truth and teachers' targets in the student's own frame (torch)."""

from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.frames import compose, diagonal, invert
from pipeline.losses import Supervision
from pipeline.skeletons import Skeleton, mirrored
from pipeline.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.distributions import gaussians, normalised, resample, total, warp
from pipeline.targets.quantise import LEVELS
from pipeline.targets.simcc import simcc_labels


@dataclass(frozen=True)
class LoadedBatch:
    """B people as read from disk, in NumPy. Keypoints are in the student skeleton's order, unlabelled where absent."""

    crops: np.ndarray
    """uint8 (B, H, W, 3), RGB."""
    input_from_image: np.ndarray
    """float64 (B, 2, 3): what the crops were made with, mirror and jitter included."""
    flipped: np.ndarray
    """bool (B,): is the crop a mirror picture."""
    keypoints: np.ndarray
    """float64 (B, K, 2) in image pixels."""
    labelled: np.ndarray
    """bool (B, K)."""
    targets: dict[str, TargetBlock]
    """Per teacher the targets (V = 1) in the view the crops were made from, in the teacher's own channel order."""
    people: list[str]
    """Who they are, for messages."""
    corrections: dict[str, np.ndarray] = field(default_factory=dict)
    """Per teacher that is calibrated: float (B, teacher's K, 2), image pixels by which its keypoints are to be moved."""


def on_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """The values on the device; to a GPU by way of pinned memory, from which it copies while the processor goes on."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def channels_for(student: Skeleton, teacher: Skeleton, flipped: np.ndarray) -> np.ndarray:
    """Int (B, K): the teacher's channel that supervises each student keypoint, -1 for none; mirrored names where flipped."""
    upright = student.positions_in(teacher)
    mirror = Skeleton("mirrored", tuple(mirrored(k) for k in student.keypoints)).positions_in(teacher)
    return np.where(flipped[:, None], mirror, upright)


def truth_in_frame(
    batch: LoadedBatch,
    student: NetworkSpec,
    target_wh: tuple[int, int],
    sigma: float | tuple[float, float],
    device: torch.device,
) -> Supervision:
    """The labels as Gaussians of `sigma` heatmap pixels, or SimCC's of so many bins of x and of y (pipeline.targets.simcc).

    Valid where labelled and inside the student's frame.
    """
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    points = batch.keypoints @ target_from_image[:, :, :2].transpose(0, 2, 1) + target_from_image[:, None, :, 2]
    mirror = student.skeleton.mirror
    swapped = batch.flipped[:, None]
    points = np.where(swapped[..., None], points[:, mirror], points)
    known = np.where(swapped, batch.labelled[:, mirror], batch.labelled)
    inside = ((points >= -0.5) & (points <= np.array(target_wh) - 0.5)).all(axis=-1)
    at = torch.from_numpy(points).to(device, torch.float32)
    both = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if student.kind == "simcc":
        target: tuple[torch.Tensor, ...] = simcc_labels(at, target_wh, both, student.factor)
    else:
        target = gaussians(at, target_wh, both[0], bins=False)
    return Supervision(target, torch.from_numpy(known & inside).to(device))


def teacher_in_frame(
    batch: LoadedBatch,
    block: TargetBlock,
    teacher: Skeleton,
    student: NetworkSpec,
    target_wh: tuple[int, int],
    floor: float,
    temperature: float,
    device: torch.device,
    warped: bool = False,
    correction: np.ndarray | None = None,
) -> Supervision:
    """A teacher's stored targets, resampled into the student's frame and raised to 1 / temperature (below 1 sharpens them).

    They are raised last, as narrow maps are resampled worse; but first where maps become bins or bins maps, for a power of sums
    is no sum of powers.

    Valid where the teacher knows the keypoint, its score is above `floor`, and its peak lies inside the student's frame.
    `correction` (B, teacher's K, 2) moves its keypoints by so many image pixels. ValueError where the student's view is turned
    against the teacher's, unless `warped`, which maps can be and bins cannot (`can_warp`).
    """
    channels = channels_for(student.skeleton, teacher, batch.flipped)
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    student_from_teacher = compose(target_from_image, block.image_from_target[:, 0])
    teacher_from_student = invert(student_from_teacher)
    moved = None
    if correction is not None:
        by = np.take_along_axis(correction, channels.clip(0)[..., None], axis=1)
        moved = by @ np.swapaxes(invert(block.image_from_target[:, 0])[:, :, :2], 1, 2)

    rows = torch.arange(len(channels), device=device)[:, None]
    channel = torch.from_numpy(channels).to(device)

    def picked(values: np.ndarray) -> torch.Tensor:
        return on_device(values, device)[rows, channel.clamp(min=0)]

    levels = tuple(picked(values[:, 0]) for values in block.levels.values())
    score = picked(block.score[:, 0].astype(np.float32))
    inside = _inside(_peaks(levels), student_from_teacher, moved, target_wh)
    bins = student.kind == "simcc"
    last = bins == (len(levels) == 2)
    sources = tuple((values / LEVELS) ** (1.0 if last else 1 / temperature) for values in levels)
    if warped:
        if not can_warp(block):
            raise ValueError("distributions over bins cannot be turned: expected maps, or views that share a rotation")
        affine = teacher_from_student if moved is None else _displaced(teacher_from_student, moved)
        targets = warp(sources[0], torch.from_numpy(affine).to(device), target_wh, bins)
    else:
        scale, shift = diagonal(teacher_from_student)
        shift = shift if moved is None else shift[:, None] - moved
        targets = resample(
            sources, torch.from_numpy(scale).to(device), torch.from_numpy(shift).to(device), target_wh, bins
        )
    if last:
        targets = tuple(target ** (1 / temperature) for target in targets)
    there = torch.stack([total(target).flatten(1) > 0 for target in targets]).all(dim=0)
    return Supervision(normalised(targets), (channel >= 0) & inside & (score > floor) & there, score)


def can_warp(block: TargetBlock) -> bool:
    """Can the targets be shown in a view that is turned against the teacher's?"""
    return "heatmaps" in block.levels


def _displaced(teacher_from_student: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Affines (B, K, 2, 3) to where targets were before each was moved by so many teacher pixels (B, K, 2)."""
    affine = np.repeat(teacher_from_student[:, None], moved.shape[1], axis=1)
    affine[..., 2] -= moved
    return affine


def _inside(
    peaks: torch.Tensor, student_from_teacher: np.ndarray, moved: np.ndarray | None, wh: tuple[int, int]
) -> torch.Tensor:
    """Bool (B, K): do peaks (B, K, 2) in teacher pixels, once moved, lie inside the student's frame of `wh` pixels?"""
    affine = torch.from_numpy(student_from_teacher).to(peaks.device)
    there = peaks if moved is None else peaks + torch.from_numpy(moved).to(peaks.device)
    at = (there[:, :, None] * affine[:, None, :, :2]).sum(dim=-1) + affine[:, None, :, 2]
    limit = torch.tensor(wh, device=peaks.device) - 0.5
    return ((at >= -0.5) & (at <= limit)).all(dim=-1)


def _peaks(levels: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Largest pixels (B, K, 2), as x and y, of maps, or of the rows of bins of both axes."""
    if len(levels) == 2:
        return torch.stack([axis.argmax(dim=-1) for axis in levels], dim=-1)
    width = levels[0].shape[-1]
    flat = levels[0].flatten(2).argmax(dim=2)
    return torch.stack([flat % width, flat // width], dim=-1)


def network_input(crops: torch.Tensor, spec: NetworkSpec) -> torch.Tensor:
    """Normalised float (B, 3, H, W), channels last in memory, of RGB crops (B, H, W, 3) on 0-255."""
    ordered = crops.float() if spec.color == "rgb" else crops.float().flip(-1)
    mean, std = (torch.tensor(values, device=crops.device) for values in (spec.mean, spec.std))
    return ((ordered - mean) / std).permute(0, 3, 1, 2)
