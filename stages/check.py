"""`pipeline teacher check`: is a teacher what params.yaml says? Scored on people of its dataset, as declared and otherwise read."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.people.people import People
from pipeline.predict import predict
from pipeline.scores.pck import keypoint_errors
from pipeline.scores.poses import Poses
from pipeline.teachers.readings import Reading, other_readings
from pipeline.teachers.session import BATCH, Device, Teacher, open_teacher
from stages.datasets import TEST, TRAIN, dataset_settings, load_people, named
from stages.progress import progress
from stages.scores import accuracy, poses_of
from stages.teachers import TeacherSettings, teach_command, teacher_settings

PEOPLE = 200
LEAST = 10.0
"""A teacher that scores less, of 100, on its own dataset is broken or misread."""
CLEARLY = 3.0
"""Points by which another reading must be better to be believed, and this many people at least:"""
ENOUGH = 30


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
    errors: dict[str, float]
    """Per keypoint, mean distance from the label in longer box sides; NaN where none is labelled."""
    others: list[tuple[Reading, float]]
    """Other readings of the spec, and their scores."""

    @property
    def suspect(self) -> tuple[Reading, float] | None:
        """The best of the decisive other readings, if it is clearly better."""
        decisive = [other for other in self.others if other[0].decisive]
        best = max(decisive, key=lambda other: other[1], default=None)
        return best if best and self.people >= ENOUGH and best[1] > self.value + CLEARLY else None

    def refuse_nonsense(self, teacher: str) -> None:
        """UserError if the teacher is of no use as it is declared."""
        found = f"teacher {teacher}: {self.score} {self.value:.1f} on {self.people} people of its own dataset"
        if self.suspect:
            reading, value = self.suspect
            raise UserError(f"{found}, but {value:.1f} with {reading.what}: {reading.remedy}")
        if self.value < LEAST:
            raise UserError(
                f"{found}, expected at least {LEAST:.0f}: check its file, dataset and spec with `pipeline teacher check "
                f"--teacher {teacher}`, or teach all the same with --no-check, or teach.check: 0 in params.yaml"
            )


def run(
    params: dict[str, Any],
    teacher: str,
    device: Device = "auto",
    people: int = PEOPLE,
    say: Callable[[str], None] = print,
) -> None:
    """Print what the teacher is, how well it does and what other readings of its spec would give; UserError on nonsense."""
    wanted = teacher_settings(params, teacher)
    opened = open_teacher(teacher, wanted.onnx, wanted.spec, device, precision=wanted.precision)
    found = examine(params, wanted, opened, people, other_readings(wanted.spec))
    for what, told in _table(opened, found):
        say(f"  {what:<10} {told}")
    say(
        f"{found.score} {found.value:.1f} on {found.people} people of {wanted.dataset} in {found.pictures} pictures, true boxes"
    )
    errors = ", ".join(
        f"{keypoint} {100 * error:.1f}" for keypoint, error in found.errors.items() if np.isfinite(error)
    )
    say(f"mean error in % of the longer box side: {errors}")
    say("read otherwise:")
    for reading, value in sorted(found.others, key=lambda other: -other[1]):
        note = f"  higher by {value - found.value:.1f}" if value > found.value else ""
        say(f"  {reading.what:<37} {value:5.1f}{note}")
    found.refuse_nonsense(teacher)
    best = max(found.others, key=lambda other: other[1])
    better = f"; {best[0].what} scores higher here: worth a look, not an error" if best[1] > found.value else ""
    say(f"teacher {teacher} is what params.yaml says{better}: next `{teach_command(teacher)}`")


def examine(
    params: dict[str, Any], wanted: TeacherSettings, opened: Teacher, people: int, readings: Sequence[Reading]
) -> Examination:
    """Score the teacher, and each of the other readings of its file, on about so many people of its own dataset."""
    dataset = named(dataset_settings(params), wanted.dataset)
    split = TRAIN if dataset.train else TEST
    chosen = spread(load_people(wanted.dataset, split), people)
    if not chosen.use.any():
        raise UserError(f"{wanted.dataset} {split}: expected people in use, found none: run `pipeline prepare`")
    count = int(chosen.use.sum())
    images = dataset.images(split)
    with progress(count * (1 + len(readings)), f"checking teacher {wanted.name}", "people") as bar:
        seconds, poses = _poses(opened, chosen, images, bar.update)
        score, value = accuracy(dataset, chosen, poses)
        others = []
        for reading in readings:
            read = _poses(dataclasses.replace(opened, spec=reading.spec), chosen, images, bar.update)[1]
            others.append((reading, accuracy(dataset, chosen, read)[1]))
    errors = keypoint_errors(chosen, poses)
    return Examination(score, value, count, len(set(chosen.image[chosen.use])), count / seconds, errors, others)


def spread(people: People, count: int) -> People:
    """About `count` people in use: whole pictures, evenly spread over the table, so that crowds count as they would in all."""
    pictures = list(dict.fromkeys(people.image[people.use].tolist()))
    used = int(people.use.sum())
    wanted = len(pictures) if used <= count else max(1, round(len(pictures) * count / used))
    picked = {pictures[i] for i in np.linspace(0, len(pictures) - 1, wanted).astype(int)} if pictures else set()
    return people.rows(np.array([image in picked for image in people.image], bool))


def _poses(opened: Teacher, chosen: People, images: Path, advance: Callable[[int], object]) -> tuple[float, Poses]:
    """Seconds inside the network, and the poses."""
    forward, seconds = opened.forward(BATCH), 0.0

    def timed(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        nonlocal seconds
        start = time.perf_counter()
        raw = forward(crops)
        seconds += time.perf_counter() - start
        return raw

    people = chosen.rows(chosen.use)
    points, confidence = predict(timed, opened.spec, people, images, BATCH, advance)
    return seconds, poses_of(people, opened.spec.skeleton, points, confidence)


def _table(opened: Teacher, found: Examination) -> list[tuple[str, str]]:
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
        ("device", f"{opened.opened.note}, {opened.precision}"),
        ("batch", f"fixed to {opened.batch}" if opened.batch else f"any, {BATCH} used"),
        ("speed", f"{found.per_second:.0f} people a second through the network"),
    ]
