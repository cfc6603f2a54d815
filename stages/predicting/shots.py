"""The pictures and frames that `predict` looks at, one at a time, each with its id and its people's boxes. No poses, no writing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.detection.boxes import NONE, Boxes, BoxFile, inside, refuse_strangers, whole_picture
from pipeline.detection.detectors import Detector, detect
from pipeline.errors import UserError
from pipeline.media.inputs import Input
from pipeline.media.stderr import caught
from pipeline.media.videos import VideoFacts, read_frames, video_facts
from pipeline.people.pictures import read_picture

Warn = Callable[[str], None]
"""Hears one line for each thing that cannot be used, which names it."""


@dataclass(frozen=True)
class Shot:
    """One picture, or one frame of a video."""

    source: Input
    entry: dict[str, Any]
    """Its entry under `images` in a COCO document."""
    picture: np.ndarray
    """RGB uint8 (H, W, 3), upright."""
    boxes: Boxes


class Finder:
    """Where people are in a picture: in a file of boxes, by a detector, or (without either) everywhere; and each picture's id."""

    def __init__(self, file: BoxFile | None, detector: Detector | None, least: float, warn: Warn) -> None:
        """Boxes with a score below `least` are left out."""
        self.file, self.detector, self.least, self.warn = file, detector, least, warn
        self.next_id = max(file.image_ids, default=0) + 1 if file else 1
        self.taken: dict[int, PurePosixPath] = {}
        self.unknown: list[PurePosixPath] = []

    def check(self, inputs: list[Input]) -> None:
        """UserError where the file of boxes is not about these inputs."""
        if self.file is None:
            return
        if not self.file.boxes:
            self.warn(f"{self.file.path}: has no boxes of people, so nobody is looked for")
        videos = [source for source in inputs if source.is_video]
        if videos and self.file.image_of_name is None:
            raise UserError(
                f"{self.file.path}: a list of detections has no names, and so none of the frames of {videos[0].name}: "
                f"give COCO annotations with file names like {videos[0].name}/000000, or `--detector`"
            )
        if not videos:
            refuse_strangers(self.file, [PurePosixPath(source.path.as_posix()) for source in inputs])

    def identify(self, path: PurePosixPath, name: PurePosixPath) -> tuple[int, tuple[int, int] | None]:
        """A picture's id, and its size where the file of boxes states one; UserError where another picture has that id."""
        known = self.file.image_id(path) if self.file else None
        if self.file is None or known is None:
            self.unknown.append(name)
            self.next_id += 1
            return self.next_id - 1, None
        if known in self.taken:
            raise UserError(
                f"{name}: expected one picture for image {known} of {self.file.path}, found {self.taken[known]} as well: "
                "predict one of them alone"
            )
        self.taken[known] = name
        return known, self.file.image_wh.get(known)

    def boxes(self, picture: np.ndarray, image_id: int, name: PurePosixPath) -> Boxes:
        """The people's boxes in a picture."""
        height, width = picture.shape[:2]
        if self.detector:
            return detect(self.detector, picture, self.least)
        if self.file is None:
            return whole_picture(width, height)
        found = self.file.boxes.get(image_id, NONE)
        return inside(found[found.score >= self.least], width, height, lambda line: self.warn(f"{name}: {line}"))

    def summarise(self) -> None:
        """Say how many pictures the file of boxes did not know."""
        if self.file and self.file.boxes and self.unknown:
            count = len(self.unknown)
            self.warn(f"{self.file.path}: has nothing about {self.unknown[0]}{f' and {count - 1} more' * (count > 1)}")


def openable(inputs: list[Input], warn: Warn) -> tuple[list[Input], dict[Path, VideoFacts]]:
    """The inputs without the videos that cannot be opened, and what the others' headers say, by path."""
    kept, facts = [], {}
    for source in inputs:
        try:
            if source.is_video:
                facts[source.path] = video_facts(source.path)
        except UserError as error:
            warn(f"{error}: left out")
        else:
            kept.append(source)
    return kept, facts


def shots(
    inputs: list[Input], facts: dict[Path, VideoFacts], finder: Finder, advance: Callable[[int], object], warn: Warn
) -> Iterator[Shot]:
    """Every picture and every frame that can be read; `advance` counts them, unreadable pictures too. Videos are numbered from 1."""
    videos = 0
    for source in inputs:
        videos += source.is_video
        try:
            if source.is_video:
                yield from _frames(source, facts[source.path], videos, finder, advance, warn)
            else:
                yield _picture(source, finder, warn)
        except UserError as error:
            warn(f"{error}: left out")
        if not source.is_video:
            advance(1)


def _picture(source: Input, finder: Finder, warn: Warn) -> Shot:
    image_id, wh = finder.identify(PurePosixPath(source.path.as_posix()), source.name)
    with tqdm.get_lock(), caught() as said:  # the lock keeps the bar's own thread from writing
        picture = read_picture(source.path, wh)
    if said:
        warn(f"{source.path}: {'; '.join(said)}: used as it was decoded")
    return Shot(source, _entry(image_id, source.name, picture), picture, finder.boxes(picture, image_id, source.name))


def _frames(
    source: Input, facts: VideoFacts, video_id: int, finder: Finder, advance: Callable[[int], object], warn: Warn
) -> Iterator[Shot]:
    count = 0
    for picture in read_frames(source.path):
        number = f"{count:06d}"
        image_id, _ = finder.identify(PurePosixPath(source.path.as_posix()) / number, source.name / number)
        entry = {**_entry(image_id, source.name / number, picture), "video_id": video_id, "frame_id": count}
        yield Shot(source, entry, picture, finder.boxes(picture, image_id, source.name / number))
        count += 1
        advance(1)
    if facts.frames - count >= facts.rate:
        warn(f"{source.path}: expected {facts.frames} frames, found {count}: it is cut short")


def _entry(image_id: int, name: PurePosixPath, picture: np.ndarray) -> dict[str, Any]:
    return {"id": image_id, "file_name": str(name), "width": picture.shape[1], "height": picture.shape[0]}
