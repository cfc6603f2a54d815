"""Pose Fusion from Python: `PoseFusion` predicts poses, `Targets` reads a teacher's stored targets, `Dataset` feeds a training loop.

A class is loaded when it is first named: `PoseFusion` on an ONNX file needs no torch, `Targets` no project and no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.common.errors import UserError
from pipeline.common.extras import missing_package

if TYPE_CHECKING:
    from pipeline.people.images import read_image
    from pose_fusion.dataset import Dataset, Sample
    from pose_fusion.predictor import PoseFusion
    from pose_fusion.targets import PersonTargets, Targets

__all__ = ["Dataset", "PersonTargets", "PoseFusion", "Sample", "Targets", "UserError", "read_image"]

_MODULES = {
    "Dataset": "pose_fusion.dataset",
    "PersonTargets": "pose_fusion.targets",
    "PoseFusion": "pose_fusion.predictor",
    "Sample": "pose_fusion.dataset",
    "Targets": "pose_fusion.targets",
    "read_image": "pipeline.people.images",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pose_fusion' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"pose_fusion.{name}") from error
