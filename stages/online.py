"""Online teachers: run on every crop of a training instead of once per view, to see what the stores give up."""

from typing import Any

import numpy as np
import torch

from pipeline.networks.run import Device
from pipeline.people.people import People
from pipeline.targets.block import TargetBlock
from pipeline.teachers.session import BATCH, open_teacher
from pipeline.teachers.targets import blank, enter
from pipeline.teachers.targets import look as raw_outputs
from pipeline.views import Views
from stages.teachers import teacher_settings
from stages.training_data import Online


def online_teacher(params: dict[str, Any], name: str, device: Device) -> tuple[Online, str]:
    """The teacher as a training's loader runs it, by the code that stage one runs through, and the sha256 of its file."""
    wanted = teacher_settings(params, name)
    opened = open_teacher(name, wanted.onnx, wanted.spec, device, torch.get_num_threads(), wanted.precision)

    def look(people: People, views: Views, crops: np.ndarray) -> TargetBlock:
        block = blank(opened, people, views)
        raw = raw_outputs(opened, wanted.spec.normalised(crops), BATCH)
        enter(block, np.arange(len(people)), raw, opened, people)
        return block

    return Online(wanted.spec, look), opened.sha256
