"""A teacher that computes targets while a student trains, instead of before. `pipeline.inference.online_teacher` makes one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.spec import NetworkSpec
from pipeline.targets.block import TargetBlock


@dataclass(frozen=True)
class OnlineTeacher:
    """A teacher that runs on every crop of a training."""

    spec: NetworkSpec
    targets: Callable[[People, Views, np.ndarray], TargetBlock]
    """Returns the targets of people in one view each, from their crops uint8 (N, h, w, 3)."""
