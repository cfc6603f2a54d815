"""A teacher looks at people: crops in, quantised targets with their affines out. The only place where teacher output is judged."""

import numpy as np

from pipeline.errors import UserError
from pipeline.outputs import Arrays, maps_and_scores
from pipeline.people.people import People
from pipeline.spec import ARRAYS
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BINS, MAP, quantise
from pipeline.teachers.session import BATCH, Teacher
from pipeline.views import Views


def targets_of(
    teacher: Teacher, people: People, views: Views, rows: slice, crops: dict[int, np.ndarray], batch: int = BATCH
) -> TargetBlock:
    """Targets of the people `rows`; `crops` has, for each row that is in use, its uint8 (V, h, w, 3) crops in the views."""
    count, size = len(views), rows.stop - rows.start
    head, names = (size, count, len(teacher.spec.skeleton)), ARRAYS[teacher.spec.kind]
    width, height = teacher.target_wh
    tails = {"heatmaps": (height, width), "x": (width,), "y": (height,)}
    levels = {name: np.zeros((*head, *tails[name]), np.uint8) for name in names}
    peak, score = np.zeros(head, np.float16), np.zeros(head, np.float16)
    forward = teacher.forward(batch)
    used = sorted(crops)
    step = max(1, batch // count)
    for start in range(0, len(used), step):
        part = used[start : start + step]
        raw = forward(np.concatenate([crops[row] for row in part]))
        raw = tuple(array.reshape(len(part), count, *array.shape[1:]) for array in raw)
        _refuse_nonsense(teacher, people, part, raw)
        maps, confidence = maps_and_scores(raw, teacher.spec)
        at = np.array(part) - rows.start
        score[at], peak[at] = confidence, 1
        for name, values in zip(names, maps, strict=True):
            levels[name][at], highest = quantise(values, MAP if name == "heatmaps" else BINS)
            peak[at] *= highest
    affines = teacher.spec.image_from_target(views.regions(rows, slice(None)), teacher.target_wh)
    return TargetBlock(people.person[rows], levels, peak, score, affines.reshape(size, count, 2, 3))


def _refuse_nonsense(teacher: Teacher, people: People, rows: list[int], raw: Arrays) -> None:
    for array in raw:
        axes = tuple(range(3, array.ndim))
        finite = np.isfinite(array).all(axis=(1, 2, *axes))
        flat = (array.max(axis=axes) == array.min(axis=axes)).all(axis=2).any(axis=1)
        for bad, what in ((~finite, "NaN or infinite values"), (flat, "a constant for every keypoint")):
            if bad.any():
                row = rows[int(np.argmax(bad))]
                raise UserError(
                    f"teacher {teacher.name} ({teacher.path}): expected {teacher.spec.kind} output, found {what} for person "
                    f"{people.person[row]} in {people.image[row]}: check the file and its mean and std in params.yaml"
                )
