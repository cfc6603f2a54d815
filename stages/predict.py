"""`pipeline predict`: poses of the people in a user's own pictures and videos, drawn and as COCO JSON. Needs no torch, no params.yaml."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from cache.lock import exclusive
from pipeline.coco_document import SEEN, annotation, person_category, visibility
from pipeline.crops import crop
from pipeline.detection.boxes import read_box_file
from pipeline.detection.detectors import Kind, open_detector
from pipeline.drawing import draw_pose
from pipeline.errors import UserError
from pipeline.files import replace_folder, write_atomically
from pipeline.frames import regions_of_boxes
from pipeline.media.inputs import find_inputs
from pipeline.people.parse import read_json
from pipeline.predict import poses_of_crops
from pipeline.teachers.exported import open_exported
from pipeline.teachers.providers import Device
from pipeline.teachers.session import Teacher
from stages.predicting.drawn import Drawing
from stages.predicting.shots import Finder, Shot, Warn, openable, shots
from stages.progress import progress

PREDICTIONS = "predictions.json"
MADE_BY = "pipeline predict"
HELD = 256 * 2**20
"""Bytes of pictures that wait for a full batch at most."""


@dataclass(frozen=True)
class Options:
    """What the command line says beside the paths."""

    boxes: Path | None = None
    """COCO annotations or detections with the people's boxes."""
    detector: Path | None = None
    """An RTMDet or YOLOX ONNX file that finds the people. Without either, each picture is one person's box."""
    detector_kind: Kind | Literal["auto"] = "auto"
    score: float = 0.3
    """Boxes with a lower score are left out."""
    confidence: float = 0.2
    """Keypoints above it are drawn and have v = 2."""
    device: Device = "auto"
    batch: int = 64
    """Crops per forward pass, where the student's file takes any."""


def run(
    pictures: list[Path],
    student: Path,
    out: Path,
    options: Options | None = None,
    say: Callable[[str], None] = print,
    warn: Warn | None = None,
) -> None:
    """Write `out`: predictions.json and the drawn files, all at once at the end. A file that cannot be used is one warning.

    UserError where nothing could be done, or where `out` holds files that are not an earlier run's.
    """
    options, warn = options or Options(), warn or _to_stderr
    place = Path(os.path.abspath(out))
    _refuse_foreign_files(place, out)
    aside = place.with_name(place.name + ".partial")
    model = open_exported(student, options.device)
    say(f"student {student} on {model.opened.note}: {len(model.spec.skeleton)} keypoints")
    finder = _finder(options, say, warn)
    folder, inputs = find_inputs(pictures, (place, aside), warn)
    inputs, facts = openable(inputs, warn)
    if not inputs:
        raise UserError(f"{', '.join(map(str, pictures))}: expected a picture or a video, found none: name other paths")
    finder.check(inputs)
    found = Found([], [])
    with exclusive(place, passing=True):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            drawing = Drawing(aside, facts, warn)
            with progress(
                sum(facts[i.path].frames if i.is_video else 1 for i in inputs), "predicting", "pictures"
            ) as bar:
                for batch in _batches(shots(inputs, facts, finder, bar.update, warn), options.batch):
                    _predict(model, batch, options, found, drawing)
            drawing.close()
            if not found.images:
                raise UserError(
                    f"{folder}: expected readable pictures, found none among {len(inputs)}: nothing is written"
                )
            videos = [
                {"id": number, "name": str(i.name), "fps": facts[i.path].rate}
                | ({"drawn": str(i.drawn)} if i.drawn in drawing.written else {})
                for number, i in enumerate((i for i in inputs if i.is_video), start=1)
            ]
            document = {
                "info": {
                    "description": MADE_BY,
                    "folder": str(folder),
                    "student": str(student),
                    "student_sha256": model.sha256,
                    "boxes": str(options.boxes or options.detector or "whole pictures"),
                    "score": options.score,
                    "confidence": options.confidence,
                },
                "videos": videos,
                "images": found.images,
                "annotations": found.annotations,
                "categories": [person_category(model.spec.skeleton)],
            }
            write_atomically(aside / PREDICTIONS, (json.dumps(document) + "\n").encode())
            replace_folder(aside, place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    finder.summarise()
    people, count = len(found.annotations), len(found.images)
    say(
        f"{people} {'person' if people == 1 else 'people'} in {count} picture{'s' * (count != 1)}: {out / PREDICTIONS}, drawn beside it"
    )


@dataclass(frozen=True)
class Found:
    """Entries of the COCO document so far."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


def _finder(options: Options, say: Callable[[str], None], warn: Warn) -> Finder:
    if options.boxes and options.detector:
        raise UserError("boxes come from `--boxes` or from `--detector`: give one of them")
    file = read_box_file(options.boxes) if options.boxes else None
    detector = None
    if options.detector:
        detector = open_detector(options.detector, options.device, options.detector_kind)
        say(f"detector {options.detector} on {detector.opened.note}: fed as {detector.kind} wants it")
    if not file and not detector:
        say("neither --boxes nor --detector: every picture is taken for one person's box")
    return Finder(file, detector, options.score, warn)


def _batches(shots: Iterator[Shot], people: int) -> Iterator[list[Shot]]:
    """Runs of pictures with at least so many people together, or as many as fit into HELD."""
    waiting: list[Shot] = []
    for shot in chain(shots, [None]):
        if shot is not None:
            waiting.append(shot)
        full = sum(len(s.boxes) for s in waiting) >= people or sum(s.picture.nbytes for s in waiting) >= HELD
        if waiting and (full or shot is None):
            yield waiting
            waiting = []


def _predict(model: Teacher, batch: list[Shot], options: Options, found: Found, drawing: Drawing) -> None:
    """Poses of everybody in some pictures, entered into `found` and drawn."""
    boxes = np.concatenate([shot.boxes.xywh for shot in batch])
    affines = model.spec.input_from_image(regions_of_boxes(boxes))
    cuts = np.cumsum([0, *(len(shot.boxes) for shot in batch)]).tolist()
    skeleton = model.spec.skeleton
    points, confidence = np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton)))
    if len(boxes):
        crops = [
            crop(shot.picture, affines[start:end], model.spec.input_wh)
            for shot, start, end in zip(batch, cuts, cuts[1:], strict=False)
        ]
        points, confidence = poses_of_crops(model.forward(options.batch), model.spec, np.concatenate(crops), boxes)
    for shot, start, end in zip(batch, cuts, cuts[1:], strict=False):
        found.images.append(shot.entry)
        first = len(found.annotations) + 1
        people = [
            annotation(
                first + row,
                shot.entry["id"],
                box,
                score,
                points[start + row],
                confidence[start + row],
                options.confidence,
            )
            for row, (box, score) in enumerate(zip(shot.boxes.xywh, shot.boxes.score.tolist(), strict=True))
        ]
        found.annotations.extend(people)
        drawn, seen = shot.picture, visibility(points[start:end], confidence[start:end], options.confidence) == SEEN
        for row in np.argsort([person["score"] for person in people], kind="stable"):  # the surest on top
            drawn = draw_pose(drawn, skeleton, points[start + row], seen[row], shot.boxes.xywh[row, 2:].max())
        drawing.add(shot.source, drawn)
        if not shot.source.is_video and shot.source.drawn in drawing.written:
            shot.entry["drawn"] = str(shot.source.drawn)


def _refuse_foreign_files(place: Path, out: Path) -> None:
    """UserError unless the folder is absent, empty, or holds only what an earlier run wrote: it is going to be replaced."""
    if place.exists() and not place.is_dir():
        raise UserError(f"{out}: expected a folder to write to, found a file: choose another with `--out`")
    written = _written_earlier(place / PREDICTIONS)
    for folder, _, names in os.walk(place):
        for name in sorted(names):
            file = Path(folder, name).relative_to(place).as_posix()
            if file not in written:
                raise UserError(
                    f"{out}: would be replaced, and holds {file}, which `{MADE_BY}` has not written: "
                    "choose another folder with `--out`, or move that away"
                )


def _written_earlier(predictions: Path) -> set[str]:
    """Files that a run of ours says it has written, itself among them; none for another's file or none at all."""
    try:
        earlier = read_json(predictions)
        if earlier["info"]["description"] != MADE_BY:
            return set()
        return {
            PREDICTIONS,
            *(entry["drawn"] for entry in (*earlier["images"], *earlier["videos"]) if "drawn" in entry),
        }
    except (UserError, LookupError, TypeError):
        return set()


def _to_stderr(line: str) -> None:
    """One line, whatever is in a file's name; above the bar, where there is one."""
    line = "warning: " + line.replace("\n", "\\n").replace("\r", "\\r")
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
