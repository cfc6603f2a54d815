"""Runs a teacher on people: network inputs in, quantised targets with their affines out. Only this module checks teacher output."""

import numpy as np

from pipeline.common.errors import UserError
from pipeline.inference.session import Teacher, forward_pass
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.flip_averaging import flip_average
from pipeline.pose.outputs import OutputArrays, maps_and_scores
from pipeline.pose.spec import ARRAYS
from pipeline.targets.block import TargetBlock
from pipeline.targets.quantise import BIN_AXES, MAP_AXES, quantise


def empty_targets(teacher: Teacher, people: People, views: Views) -> TargetBlock:
    """Return the targets of people before the teacher has run: ids and affines, all else zero. `write_targets` fills them in."""
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


def run_teacher(teacher: Teacher, inputs: np.ndarray, batch: int) -> tuple[OutputArrays, ...]:
    """Return raw outputs float32 of network inputs (M, 3, H, W), `batch` per pass; with `flip` in the spec, of the mirrored inputs too."""
    size = teacher.batch or batch
    variants = [inputs, np.ascontiguousarray(inputs[..., ::-1])] if teacher.spec.flip else [inputs]
    outputs = []
    for images in variants:
        parts = [forward_pass(teacher, images[start : start + size]) for start in range(0, len(images), size)]
        outputs.append(
            tuple(np.concatenate(arrays) if len(parts) > 1 else arrays[0] for arrays in zip(*parts, strict=True))
        )
    return tuple(outputs)


def write_targets(
    block: TargetBlock, at: np.ndarray, outputs: tuple[OutputArrays, ...], teacher: Teacher, people: People
) -> None:
    """Check, quantise and write the outputs of `run_teacher` into the rows `at` (M / V,) of a block; `people` are the block's.

    One person is processed at a time, so that its data stays in the processor's cache. UserError for invalid output names the person.
    """
    names, count = ARRAYS[teacher.spec.kind], block.peak.shape[1]
    for number, row in enumerate(at.tolist()):
        straight, *mirrored = (tuple(array[number * count : (number + 1) * count] for array in raw) for raw in outputs)
        raw = flip_average(straight, mirrored[0], teacher.spec) if mirrored else straight
        _refuse_invalid_outputs(teacher, people, row, raw)
        maps, block.score[row] = maps_and_scores(raw, teacher.spec)
        peak = np.ones(block.peak.shape[1:], np.float16)
        for name, values in zip(names, maps, strict=True):
            block.levels[name][row], highest = quantise(values, MAP_AXES if name == "heatmaps" else BIN_AXES)
            peak *= highest
        block.peak[row] = peak


def _refuse_invalid_outputs(teacher: Teacher, people: People, row: int, raw: OutputArrays) -> None:
    """Raise UserError if an output (V, K, ...) of one person is not finite, or constant for every keypoint."""
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
