"""Runs a teacher on every crop of a training, by the code of stage one, to measure what stored targets lose."""

import numpy as np

from pipeline.inference.session import DEFAULT_BATCH, Teacher
from pipeline.inference.soft_targets import empty_targets, run_teacher, write_targets
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.targets.block import TargetBlock
from pipeline.targets.online import OnlineTeacher


def online_teacher(teacher: Teacher) -> OnlineTeacher:
    """Return an open teacher in the form that a training's loader calls."""

    def targets(people: People, views: Views, crops: np.ndarray) -> TargetBlock:
        block = empty_targets(teacher, people, views)
        raw = run_teacher(teacher, teacher.spec.normalised(crops), DEFAULT_BATCH)
        write_targets(block, np.arange(len(people)), raw, teacher, people)
        return block

    return OnlineTeacher(teacher.spec, targets)
