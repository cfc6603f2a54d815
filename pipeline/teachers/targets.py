"""A teacher looks at people: crops in, quantised targets with their affines out. The only place where teacher output is judged."""

import numpy as np

from pipeline.errors import UserError
from pipeline.outputs import maps_and_scores
from pipeline.people.people import People
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import quantise
from pipeline.teachers.session import Teacher, infer
from pipeline.views import Views

BATCH = 64


def targets_of(
    teacher: Teacher, people: People, views: Views, rows: slice, crops: dict[int, np.ndarray], batch: int = BATCH
) -> TargetBlock:
    """Targets of the people `rows`; `crops` has, for each row that is in use, its uint8 (V, h, w, 3) crops in the views."""
    count, width, height = len(views), *teacher.target_wh
    keypoints = len(teacher.spec.skeleton)
    size = rows.stop - rows.start
    levels = np.zeros((size, count, keypoints, height, width), np.uint8)
    peak = np.zeros((size, count, keypoints), np.float16)
    score = np.zeros((size, count, keypoints), np.float16)
    used = sorted(crops)
    step = max(1, batch // count)
    for start in range(0, len(used), step):
        part = used[start : start + step]
        raw = infer(teacher, np.concatenate([crops[row] for row in part]), batch)
        raw = raw.reshape(len(part), count, *raw.shape[1:])
        _refuse_nonsense(teacher, people, part, raw)
        maps, confidence = maps_and_scores(raw, teacher.spec.kind)
        at = np.array(part) - rows.start
        levels[at], peak[at] = quantise(maps)
        score[at] = confidence
    affines = teacher.spec.image_from_target(views.regions(rows, slice(None)), teacher.target_wh)
    return TargetBlock(people.person[rows], levels, peak, score, affines.reshape(size, count, 2, 3))


def _refuse_nonsense(teacher: Teacher, people: People, rows: list[int], raw: np.ndarray) -> None:
    finite = np.isfinite(raw).all(axis=(1, 2, 3, 4))
    flat = (raw.max(axis=(3, 4)) == raw.min(axis=(3, 4))).all(axis=2).any(axis=1)
    for bad, what in ((~finite, "NaN or infinite values"), (flat, "a constant in every map")):
        if bad.any():
            row = rows[int(np.argmax(bad))]
            raise UserError(
                f"teacher {teacher.name} ({teacher.path}): expected heatmaps, found {what} for person {people.person[row]} "
                f"in {people.image[row]}: check the file and its mean and std in params.yaml"
            )
