"""A batch of people as it is read from disk, and its crops as the network's input.

`pipeline.training.student_frame` brings the labels and targets of such a batch into the student's frame.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.pose.spec import NetworkSpec
from pipeline.targets.block import TargetBlock


@dataclass(frozen=True)
class LoadedBatch:
    """B people as read from disk, in NumPy. Keypoints are in the order of the student's skeleton."""

    crops: np.ndarray
    """uint8 (B, H, W, 3), RGB."""
    input_from_image: np.ndarray
    """float64 (B, 2, 3): the affines that the crops were cut with, mirror and jitter included."""
    flipped: np.ndarray
    """bool (B,): is the crop a mirror image."""
    keypoints: np.ndarray
    """float64 (B, K, 2), image pixels."""
    labelled: np.ndarray
    """bool (B, K): does the person's dataset label the keypoint."""
    targets: dict[str, TargetBlock]
    """Targets by teacher, in the view (V = 1) that the crops were made from and in the teacher's own channel order."""
    people: list[str]
    """Dataset and id of each person, for messages."""
    corrections: dict[str, np.ndarray] = field(default_factory=dict)
    """By calibrated teacher, float (B, teacher's K, 2): image pixels by which its keypoints are to be moved."""


def on_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy the values to the device; to a GPU from pinned memory, so that the copy runs while the CPU goes on."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def network_input(crops: torch.Tensor, spec: NetworkSpec) -> torch.Tensor:
    """Normalise RGB crops (B, H, W, 3) on 0-255 to float (B, 3, H, W), channels last in memory."""
    ordered = crops.float() if spec.color == "rgb" else crops.float().flip(-1)
    mean, std = (torch.tensor(values, device=crops.device) for values in (spec.mean, spec.std))
    return (ordered - mean).div_(std).permute(0, 3, 1, 2)
