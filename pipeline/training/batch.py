"""From loaded people to what a network trains on: normalised crops, truth and teachers' targets in the student's own frame (torch)."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.frames import compose, diagonal, invert
from pipeline.losses import Supervision
from pipeline.skeletons import Skeleton, mirrored
from pipeline.spec import NetworkSpec
from pipeline.targets.block import TargetBlock
from pipeline.targets.distributions import gaussians, normalised, resample, total
from pipeline.targets.quantise import LEVELS


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


def channels_for(student: Skeleton, teacher: Skeleton, flipped: np.ndarray) -> np.ndarray:
    """Int (B, K): the teacher's channel that supervises each student keypoint, -1 for none; mirrored names where flipped."""
    upright = student.positions_in(teacher)
    mirror = Skeleton("mirrored", tuple(mirrored(k) for k in student.keypoints)).positions_in(teacher)
    return np.where(flipped[:, None], mirror, upright)


def truth_in_frame(
    batch: LoadedBatch, student: NetworkSpec, target_wh: tuple[int, int], sigma: float, device: torch.device
) -> Supervision:
    """The labels as Gaussians of `sigma` heatmap pixels, or bins; valid where labelled and inside the student's frame."""
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    points = batch.keypoints @ target_from_image[:, :, :2].transpose(0, 2, 1) + target_from_image[:, None, :, 2]
    mirror = student.skeleton.mirror
    swapped = batch.flipped[:, None]
    points = np.where(swapped[..., None], points[:, mirror], points)
    known = np.where(swapped, batch.labelled[:, mirror], batch.labelled)
    inside = ((points >= -0.5) & (points <= np.array(target_wh) - 0.5)).all(axis=-1)
    at = torch.from_numpy(points).to(device, torch.float32)
    target = gaussians(at, target_wh, sigma, bins=student.kind == "simcc")
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
) -> Supervision:
    """A teacher's stored targets, raised to 1 / temperature (below 1 sharpens them), resampled into the student's frame.

    Valid where the teacher knows the keypoint, its score is above `floor`, and its peak lies inside the student's frame.
    """
    channels = channels_for(student.skeleton, teacher, batch.flipped)
    target_from_image = compose(student.target_from_input(target_wh), batch.input_from_image)
    teacher_from_student = invert(compose(target_from_image, block.image_from_target[:, 0]))
    scale, shift = (torch.from_numpy(part).to(device) for part in diagonal(teacher_from_student))

    rows = torch.arange(len(channels), device=device)[:, None]
    channel = torch.from_numpy(channels).to(device)

    def picked(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)[rows, channel.clamp(min=0)]

    levels = tuple(picked(values[:, 0]) for values in block.levels.values())
    score = picked(block.score[:, 0].astype(np.float32))
    at = (_peaks(levels) - shift[:, None]) / scale[:, None]
    limit = torch.tensor(target_wh, device=device) - 0.5
    inside = ((at >= -0.5) & (at <= limit)).all(dim=-1)
    sharp = tuple((values / LEVELS) ** (1 / temperature) for values in levels)
    targets = resample(sharp, scale, shift, target_wh, bins=student.kind == "simcc")
    there = torch.stack([total(target).flatten(1) > 0 for target in targets]).all(dim=0)
    return Supervision(normalised(targets), (channel >= 0) & inside & (score > floor) & there)


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
