"""A teacher looks at people: network inputs in, quantised targets with their affines out. The only place where teacher output is judged."""

import numpy as np

from pipeline.errors import UserError
from pipeline.flip import averaged
from pipeline.outputs import Arrays, maps_and_scores
from pipeline.people.people import People
from pipeline.spec import ARRAYS
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BINS, MAP, quantise
from pipeline.teachers.session import Teacher, one_pass
from pipeline.views import Views


def blank(teacher: Teacher, people: People, views: Views) -> TargetBlock:
    """The targets of people at whom the teacher has not looked: affines and ids, all else zero. For `enter` to be filled in."""
    head = (len(people), len(views), len(teacher.spec.skeleton))
    width, height = teacher.target_wh
    tails = {"heatmaps": (height, width), "x": (width,), "y": (height,)}
    affines = teacher.spec.image_from_target(views.regions(slice(None), slice(None)), teacher.target_wh)
    return TargetBlock(
        people.person,
        {name: np.zeros((*head, *tails[name]), np.uint8) for name in ARRAYS[teacher.spec.kind]},
        np.zeros(head, np.float16),
        np.zeros(head, np.float16),
        affines.reshape(*head[:2], 2, 3),
    )


def look(teacher: Teacher, inputs: np.ndarray, batch: int) -> tuple[Arrays, ...]:
    """Raw outputs float32 of network inputs (M, 3, H, W), `batch` at a time; where the spec says `flip`, those of the mirrored ones too."""
    size = teacher.batch or batch
    pictures = [inputs, np.ascontiguousarray(inputs[..., ::-1])] if teacher.spec.flip else [inputs]
    looks = []
    for each in pictures:
        parts = [one_pass(teacher, each[start : start + size]) for start in range(0, len(each), size)]
        looks.append(
            tuple(np.concatenate(arrays) if len(parts) > 1 else arrays[0] for arrays in zip(*parts, strict=True))
        )
    return tuple(looks)


def enter(block: TargetBlock, at: np.ndarray, looks: tuple[Arrays, ...], teacher: Teacher, people: People) -> None:
    """Judge what `look` gave for people in use, quantise it and write it into the block's rows `at` (M / V,); `people` are the block's.

    One person at a time, which the processor's cache holds. UserError on nonsense names the first person.
    """
    names, count = ARRAYS[teacher.spec.kind], block.peak.shape[1]
    for number, row in enumerate(at.tolist()):
        straight, *mirrored = (tuple(array[number * count : (number + 1) * count] for array in raw) for raw in looks)
        raw = averaged(straight, mirrored[0], teacher.spec) if mirrored else straight
        _refuse_nonsense(teacher, people, row, raw)
        maps, block.score[row] = maps_and_scores(raw, teacher.spec)
        peak = np.ones(block.peak.shape[1:], np.float16)
        for name, values in zip(names, maps, strict=True):
            block.levels[name][row], highest = quantise(values, MAP if name == "heatmaps" else BINS)
            peak *= highest
        block.peak[row] = peak


def _refuse_nonsense(teacher: Teacher, people: People, row: int, raw: Arrays) -> None:
    """UserError where an output (V, K, ...) of one person cannot be meant."""
    for array in raw:
        axes = tuple(range(2, array.ndim))
        low, high = array.min(axis=axes), array.max(axis=axes)  # which are NaN where one value is
        flat = (low == high).all(axis=1).any()
        finite = np.isfinite(low).all() and np.isfinite(high).all()
        for bad, what in ((not finite, "NaN or infinite values"), (flat, "a constant for every keypoint")):
            if bad:
                raise UserError(
                    f"teacher {teacher.name} ({teacher.path}): expected {teacher.spec.kind} output, found {what} for person "
                    f"{people.person[row]} in {people.image[row]}: check the file and its mean and std in params.yaml"
                )
