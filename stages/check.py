"""`pipeline teacher check`: is a teacher what params.yaml says? Scored on people of its dataset, as declared and otherwise read."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.flip import Forward
from pipeline.outputs import Arrays
from pipeline.people.people import People
from pipeline.predict import crops_of, poses_of_crops
from pipeline.scores.pck import keypoint_errors
from pipeline.scores.poses import Poses, poses_of
from pipeline.spec import NetworkSpec
from pipeline.teachers.readings import Reading, other_readings
from pipeline.teachers.session import BATCH, Device, Teacher, open_teacher
from stages.datasets import TEST, TRAIN, advised, dataset_settings, load_people, named
from stages.evaluation.scores import accuracy
from stages.progress import progress
from stages.teachers import TeacherSettings, teach_command, teacher_settings

PEOPLE = 200
LEAST = 10.0
"""A teacher that scores less, of 100, on its own dataset is broken or misread."""
CLEARLY = 3.0
"""Points by which another reading must be better to be believed, and this many people at least:"""
ENOUGH = 30
WORTH_A_LOOK = 1.0
SURE, SURE_SHARE = 0.2, 0.01
"""A teacher of which fewer keypoints than this share have a higher confidence than SURE teaches nobody anything."""


@dataclass(frozen=True)
class Examination:
    """What came out of scoring a teacher on some people of its dataset."""

    score: str
    """Name of the score: AP or PCKh@0.5."""
    value: float
    people: int
    pictures: int
    per_second: float
    """People through the network, pictures read and cropped beforehand."""
    confidence: float
    """Median over all keypoints."""
    sure: float
    """Share of keypoints whose confidence is above SURE."""
    errors: dict[str, float]
    """Per keypoint, mean distance from the label in longer box sides; NaN where none is labelled."""
    others: list[tuple[Reading, float]]
    """Other readings of the spec, and their scores, best first."""

    @property
    def rival(self) -> tuple[Reading, float] | None:
        """The best of the decisive other readings, if it is clearly better."""
        decisive = [other for other in self.others if other[0].decisive and other[1] > self.value + CLEARLY]
        return decisive[0] if decisive else None

    @property
    def trouble(self) -> str | None:
        """Why the teacher is of no use as it is declared, and what to do; None if it is."""
        found = f"{self.score} {self.value:.1f} on {self.people} people of its own dataset"
        if self.rival and self.people >= ENOUGH:
            reading, value = self.rival
            return f"{found}, but {value:.1f} with {reading.what}: {reading.remedy}"
        if not self.value >= LEAST:
            return f"{found}, expected at least {LEAST:.0f}: is it this file, dataset, skeleton and spec?"
        if self.sure < SURE_SHARE:
            return (
                f"{found}, but its confidences are of no use, {self.confidence:.3f} in the median and "
                f"{100 * self.sure:.1f} % above {SURE}: is its kind right, or its factor?"
            )
        return None


def run(
    params: dict[str, Any],
    teacher: str,
    device: Device = "auto",
    people: int = PEOPLE,
    batch: int = BATCH,
    say: Callable[[str], None] = print,
) -> None:
    """Print what the teacher is, how well it does and what other readings of its spec would give; UserError on nonsense."""
    wanted = teacher_settings(params, teacher)
    opened = open_teacher(teacher, wanted.onnx, wanted.spec, device, precision=wanted.precision)
    found = examine(params, wanted, opened, other_readings(wanted.spec), people, batch)
    for what, told in _table(opened, found, batch):
        say(f"  {what:<10} {told}")
    where = f"{found.people} people of {wanted.dataset} in {found.pictures} pictures"
    say(f"{found.score} {found.value:.1f} on {where}, true boxes")
    known = ", ".join(f"{keypoint} {100 * error:.1f}" for keypoint, error in found.errors.items() if np.isfinite(error))
    say(f"mean error in % of the longer box side: {known}")
    say(f"confidences: {found.confidence:.2f} in the median, {100 * found.sure:.0f} % above {SURE}")
    say("read otherwise:")
    for reading, value in found.others:
        note = f"  higher by {value - found.value:.1f}" if value > found.value else ""
        say(f"  {reading.what:<37} {value:5.1f}{note}")
    if found.trouble:
        raise UserError(f"teacher {teacher}: {found.trouble}")
    say(_verdict(teacher, found))


def _verdict(teacher: str, found: Examination) -> str:
    after = f"next `{teach_command(teacher)}`"
    best, value = found.others[0]
    if found.people < ENOUGH:
        return f"teacher {teacher} works; {found.people} people are too few to tell readings apart, {ENOUGH} are needed: {after}"
    look = f"; {best.what} scores higher here: worth a look, not an error" if value > found.value + WORTH_A_LOOK else ""
    return f"teacher {teacher} is what params.yaml says{look}: {after}"


def examine(
    params: dict[str, Any],
    wanted: TeacherSettings,
    opened: Teacher,
    readings: Sequence[Reading],
    people: int,
    batch: int,
) -> Examination:
    """Score the teacher, and each of the other readings of its file, on about so many people of its own dataset."""
    dataset = named(dataset_settings(params), wanted.dataset)
    if not dataset.labelled:
        raise UserError(
            f"params.yaml: teachers.{wanted.name}.dataset: expected a dataset with labels to score it by, found {wanted.dataset} "
            "with boxes only"
        )
    split = TRAIN if dataset.train else TEST
    chosen = spread(load_people(wanted.dataset, split), people)
    used = chosen.rows(chosen.use)
    if not len(used):
        raise UserError(f"{wanted.dataset} {split}: expected people in use, found none: run `pipeline prepare`")
    declared = Reading("as declared", wanted.spec, False)
    poses: dict[str, Poses] = {}
    spent: list[float] = []
    with progress(len(used) * (1 + len(readings)), f"checking teacher {wanted.name}", "people") as bar:
        for group in _by_geometry([declared, *readings]):
            poses |= _poses(opened, group, wanted.dataset, used, dataset.images(split), batch, bar.update, spent)
    values = {what: accuracy(dataset, chosen, each) for what, each in poses.items()}
    score, value = values[declared.what]
    others = sorted(((reading, values[reading.what][1]) for reading in readings), key=lambda other: -other[1])
    confidence = poses[declared.what].confidence
    return Examination(
        score=score,
        value=value,
        people=len(used),
        pictures=len(set(used.image)),
        per_second=len(used) * len(poses) / sum(spent),
        confidence=float(np.median(confidence)),
        sure=float(np.mean(confidence > SURE)),
        errors=keypoint_errors(chosen, poses[declared.what]),
        others=others,
    )


def spread(people: People, count: int) -> People:
    """About `count` people in use: whole pictures, evenly spread over the table, so that crowds count as they would in all."""
    pictures = list(dict.fromkeys(people.image[people.use].tolist()))
    used = int(people.use.sum())
    wanted = len(pictures) if used <= count else max(1, round(len(pictures) * count / used))
    picked = {pictures[i] for i in np.linspace(0, len(pictures) - 1, wanted).astype(int)} if pictures else set()
    return people.rows(np.array([image in picked for image in people.image], bool))


def _by_geometry(readings: Sequence[Reading]) -> list[list[Reading]]:
    """Readings that look at the same crops, together."""
    groups: dict[tuple[float, str], list[Reading]] = {}
    for reading in readings:
        groups.setdefault((reading.spec.padding, reading.spec.affine), []).append(reading)
    return list(groups.values())


def _crops(
    dataset: str, spec: NetworkSpec, people: People, images: Path, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As pipeline.predict has them; of a picture that cannot be used the error says what to do."""
    coming = crops_of(spec, people, images, batch)
    while True:
        with advised(dataset):
            found = next(coming, None)
        if found is None:
            return
        yield found


def _poses(
    opened: Teacher,
    group: list[Reading],
    dataset: str,
    people: People,
    images: Path,
    batch: int,
    advance: Callable[[int], object],
    spent: list[float],
) -> dict[str, Poses]:
    """Everybody's poses by reading; seconds inside the network are added to `spent`."""
    shape = (len(people), len(opened.spec.skeleton))
    points = {reading.what: np.full((*shape, 2), np.nan) for reading in group}
    confidence = {reading.what: np.zeros(shape) for reading in group}
    for rows, crops in _crops(dataset, group[0].spec, people, images, batch):
        for reading in group:
            forward = dataclasses.replace(opened, spec=reading.spec).forward(batch)
            points[reading.what][rows], confidence[reading.what][rows] = poses_of_crops(
                _timed(forward, spent), reading.spec, crops, people.box[rows]
            )
            advance(len(rows))
    return {
        reading.what: poses_of(people, reading.spec.skeleton, points[reading.what], confidence[reading.what])
        for reading in group
    }


def _timed(forward: Forward, spent: list[float]) -> Forward:
    def run_and_time(crops: np.ndarray) -> Arrays:
        start = time.perf_counter()
        raw = forward(crops)
        spent.append(time.perf_counter() - start)
        return raw

    return run_and_time


def _table(opened: Teacher, found: Examination, batch: int) -> list[tuple[str, str]]:
    spec, (width, height) = opened.spec, opened.target_wh
    numbers = "{:g} {:g} {:g}"
    flip = ", averaged with the mirror picture" if spec.flip else ""
    what = (
        f"{width} + {height} bins, softmax({spec.factor:g} x score)"
        if spec.kind == "simcc"
        else f"{height} x {width} maps"
    )
    return [
        ("teacher", f"{opened.name}: {opened.path}, {opened.path.stat().st_size / 1e6:.1f} MB"),
        ("sha256", opened.sha256),
        ("skeleton", f"{spec.skeleton.name}, {len(spec.skeleton)} keypoints"),
        (
            "input",
            f"{spec.input_wh[1]} x {spec.input_wh[0]} {spec.color}, padding {spec.padding:g}, affine {spec.affine}",
        ),
        ("mean, std", f"{numbers.format(*spec.mean)}, {numbers.format(*spec.std)} on 0-255"),
        ("kind", f"{spec.kind}: {what}{flip}"),
        ("device", f"{opened.opened.note}, {_precision(opened)}"),
        ("batch", f"fixed to {opened.batch}" if opened.batch else f"any, {batch} used"),
        ("speed", f"{found.per_second:.0f} people a second through the network"),
    ]


def _precision(opened: Teacher) -> str:
    stored = opened.opened.session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    return "float16 file" if stored == "float16" else opened.precision
