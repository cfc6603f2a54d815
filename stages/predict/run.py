"""`pipeline predict`: poses of the people in a user's own images and videos, drawn and as COCO JSON. Needs no torch, no params.yaml."""

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

from pipeline.common.errors import UserError
from pipeline.common.files import replace_folder, write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.datasets.coco_document import ABOVE_THRESHOLD, CONFIDENCES, annotation, visibility
from pipeline.detection.boxes import read_box_file
from pipeline.detection.detectors import DetectorKind, open_detector
from pipeline.drawing import draw_pose
from pipeline.inference.exported import open_exported
from pipeline.inference.predict import poses_of_crops
from pipeline.inference.session import Teacher
from pipeline.media.inputs import find_media
from pipeline.pose.crops import crop
from pipeline.pose.geometry import regions_of_boxes
from pipeline.pose.options import Device
from stages.fetch.places import fetched_detector
from stages.predict.drawing import DrawingWriter
from stages.predict.frames import Frame, PersonLocator, Warn, frames_of, openable_media
from stages.predict.output import PREDICTIONS_FILE, DocumentEntries, predictions_document, refuse_foreign_files

MAX_WAITING_BYTES = 256 * 2**20
"""Most bytes of images that wait for a full batch."""


@dataclass(frozen=True)
class PredictOptions:
    """Options of the command line."""

    boxes: Path | None = None
    """COCO annotations or detections with the people's boxes."""
    detector: Path | None = None
    """RTMDet or YOLOX ONNX file that finds the people; by default the one that `pipeline detector fetch` has brought."""
    detector_kind: DetectorKind | Literal["auto"] = "auto"
    score: float = 0.3
    """Boxes with a lower score are left out."""
    confidence: float = 0.2
    """Keypoints above this confidence are drawn and have v = 2."""
    device: Device = "auto"
    batch: int = 64
    """Crops per forward pass, if the student's file accepts any number."""
    person_label: int | None = None
    """The detector's label of people, by default 0; or the category of people in the file of boxes, by default the one it states."""
    whole: bool = False
    """Take each image as the box of one person."""


def run(
    paths: list[Path],
    student: Path,
    out: Path,
    options: PredictOptions | None = None,
    log: Callable[[str], None] = print,
    warn: Warn | None = None,
) -> None:
    """Write `out`: predictions.json and the drawn files, all at once at the end. A file that cannot be used is one warning.

    UserError where no image can be read, or where `out` holds files that no earlier run has written.
    """
    options, warn = options or PredictOptions(), warn or _to_stderr
    folder = Path(os.path.abspath(out))
    refuse_foreign_files(folder, out)
    aside = folder.with_name(folder.name + ".partial")
    model = open_exported(student, options.device)
    log(f"student {student} on {model.runtime.note}: {len(model.spec.skeleton)} keypoints")
    locator = _locator(options, log, warn)
    input_folder, inputs = find_media(paths, (folder, aside), warn)
    inputs, headers = openable_media(inputs, warn)
    if not inputs:
        raise UserError(f"{', '.join(map(str, paths))}: expected an image or a video, found none: name other paths")
    locator.check(inputs)
    entries = DocumentEntries()
    with exclusive(folder, remove_lock_file=True):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            writer = DrawingWriter(aside, headers, warn)
            count = sum(headers[media.path].frames if media.is_video else 1 for media in inputs)
            with progress(count, "predicting", "images") as bar:
                for batch in _batches(frames_of(inputs, headers, locator, bar.update, warn), options.batch):
                    _predict(model, batch, options, entries, writer)
            writer.close()
            if not entries.images:
                raise UserError(
                    f"{input_folder}: expected readable images, found none among {len(inputs)}: nothing is written"
                )
            info: dict[str, Any] = {
                "folder": str(input_folder),
                "student": str(student),
                "student_sha256": model.sha256,
                "boxes": str(options.boxes or (locator.detector.path if locator.detector else "whole images")),
                "score": options.score,
                "confidence": options.confidence,
            }
            if options.person_label is not None:
                info["person_label"] = options.person_label
            document = predictions_document(info, entries, model.spec.skeleton, inputs, headers, writer.written)
            write_atomically(aside / PREDICTIONS_FILE, (json.dumps(document) + "\n").encode())
            replace_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    locator.warn_of_unknown()
    locator.warn_of_other_labels()
    people, images = len(entries.annotations), len(entries.images)
    log(
        f"{people} {'person' if people == 1 else 'people'} in {images} image{'s' * (images != 1)}: "
        f"{out / PREDICTIONS_FILE}, drawn beside it"
    )
    surest = max((max(each[CONFIDENCES]) for each in entries.annotations), default=1.0)
    if surest <= options.confidence:
        log(
            f"no keypoint is drawn: the surest has a confidence of {surest:.2f}, and `--confidence` is {options.confidence}: "
            "lower it, or train the student longer"
        )


def _locator(options: PredictOptions, log: Callable[[str], None], warn: Warn) -> PersonLocator:
    if sum(map(bool, (options.boxes, options.detector, options.whole))) > 1:
        raise UserError("boxes come from `--boxes`, from `--detector` or are the images (`--whole`): give one of them")
    if options.person_label is not None and options.whole:
        raise UserError("`--person-label` is of a detector or a file of boxes: leave it out, or `--whole`")
    file = read_box_file(options.boxes, options.person_label, warn) if options.boxes else None
    detector = None
    if not file and not options.whole:
        path = options.detector or fetched_detector()
        if path is None:
            raise UserError(
                "no boxes of people, and no detector in data/detectors: run `pipeline detector fetch rtmdet-m`, or give `--detector`, "
                "`--boxes`, or `--whole` where each image is one person"
            )
        detector = open_detector(path, options.device, options.detector_kind, options.person_label)
        log(f"detector {path} on {detector.runtime.note}: its input is that of {detector.kind}")
    return PersonLocator(file, detector, options.score, warn)


def _batches(frames: Iterator[Frame], people: int) -> Iterator[list[Frame]]:
    """Yield lists of frames with at least so many people together, or with at least MAX_WAITING_BYTES."""
    waiting: list[Frame] = []
    for frame in chain(frames, [None]):
        if frame is not None:
            waiting.append(frame)
        size = sum(each.image.nbytes for each in waiting)
        full = sum(len(each.boxes) for each in waiting) >= people or size >= MAX_WAITING_BYTES
        if waiting and (full or frame is None):
            yield waiting
            waiting = []


def _predict(
    model: Teacher, batch: list[Frame], options: PredictOptions, entries: DocumentEntries, writer: DrawingWriter
) -> None:
    """Predict the poses of everybody in some frames, add them to `entries`, and draw them."""
    boxes = np.concatenate([frame.boxes.xywh for frame in batch])
    affines = model.spec.input_from_image(regions_of_boxes(boxes))
    ends = np.cumsum([0, *(len(frame.boxes) for frame in batch)]).tolist()
    spans = list(zip(batch, ends[:-1], ends[1:], strict=True))
    skeleton = model.spec.skeleton
    points, confidence = np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton)))
    if len(boxes):
        crops = [crop(frame.image, affines[start:end], model.spec.input_wh) for frame, start, end in spans]
        points, confidence = poses_of_crops(model.forward(options.batch), model.spec, np.concatenate(crops), boxes)
    for frame, start, end in spans:
        entries.images.append(frame.entry)
        first = len(entries.annotations) + 1
        people = [
            annotation(
                first + row,
                frame.entry["id"],
                box,
                score,
                points[start + row],
                confidence[start + row],
                options.confidence,
            )
            for row, (box, score) in enumerate(zip(frame.boxes.xywh, frame.boxes.score.tolist(), strict=True))
        ]
        entries.annotations.extend(people)
        drawn = frame.image
        drawable = visibility(points[start:end], confidence[start:end], options.confidence) == ABOVE_THRESHOLD
        for row in np.argsort([person["score"] for person in people], kind="stable"):  # the best on top
            drawn = draw_pose(drawn, skeleton, points[start + row], drawable[row], frame.boxes.xywh[row, 2:].max())
        writer.add(frame.source, drawn)
        if not frame.source.is_video and frame.source.drawn_name in writer.written:
            frame.entry["drawn"] = str(frame.source.drawn_name)


def _to_stderr(line: str) -> None:
    """Print a warning in one line, whatever is in a file's name, and above the progress bar where there is one."""
    line = "warning: " + line.replace("\n", "\\n").replace("\r", "\\r")
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
