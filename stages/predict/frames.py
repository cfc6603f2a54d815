"""Reads the images and frames that `predict` runs on, one at a time, each with its id and its people's boxes. Predicts no poses."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.common.errors import UserError
from pipeline.common.stderr import captured_stderr
from pipeline.detection.boxes import NO_BOXES, Boxes, BoxFile, boxes_inside, refuse_unrelated_images, whole_image_box
from pipeline.detection.detectors import Detector, detect
from pipeline.media.inputs import MediaFile
from pipeline.media.videos import VideoHeader, read_frames, read_video_header
from pipeline.people.images import read_image

Warn = Callable[[str], None]
"""Called with one line for each input that cannot be used."""


@dataclass(frozen=True)
class Frame:
    """One image, or one frame of a video."""

    source: MediaFile
    entry: dict[str, Any]
    """Entry under `images` in a COCO document."""
    image: np.ndarray
    """RGB, uint8 (H, W, 3), upright."""
    boxes: Boxes


class PersonLocator:
    """Finds the boxes of people in an image, and the image's id.

    The boxes are those of a file or of a detector. With neither, the whole image is the box of one person.
    """

    def __init__(self, file: BoxFile | None, detector: Detector | None, min_score: float, warn: Warn) -> None:
        """Boxes with a score below `min_score` are left out."""
        self.file, self.detector, self.min_score, self.warn = file, detector, min_score, warn
        self.next_id = max(file.image_ids, default=0) + 1 if file else 1
        self.taken: dict[int, PurePosixPath] = {}
        self.unknown: list[PurePosixPath] = []
        self.detected = 0
        self.others: Counter[int] = Counter()

    def check(self, inputs: list[MediaFile]) -> None:
        """Raise UserError where the file of boxes does not belong to these inputs."""
        if self.file is None:
            return
        if not self.file.boxes:
            self.warn(f"{self.file.path}: has no boxes of people, so no pose is predicted")
        videos = [source for source in inputs if source.is_video]
        if videos and self.file.image_of_name is None:
            raise UserError(
                f"{self.file.path}: a list of detections has no names, and so none of the frames of {videos[0].name}: "
                f"give COCO annotations with file names like {videos[0].name}/000000, or `--detector`"
            )
        if not videos:
            refuse_unrelated_images(self.file, [PurePosixPath(source.path.as_posix()) for source in inputs])

    def identify(self, path: PurePosixPath, name: PurePosixPath) -> tuple[int, tuple[int, int] | None]:
        """Return an image's id, and its size where the file of boxes states one; UserError where another image has that id."""
        image_id = self.file.image_id(path) if self.file else None
        if self.file is None or image_id is None:
            self.unknown.append(name)
            self.next_id += 1
            return self.next_id - 1, None
        if image_id in self.taken:
            raise UserError(
                f"{name}: expected one file for image {image_id} of {self.file.path}, found {self.taken[image_id]} as well: "
                "predict one of them alone"
            )
        self.taken[image_id] = name
        return image_id, self.file.image_wh.get(image_id)

    def boxes(self, image: np.ndarray, image_id: int, name: PurePosixPath) -> Boxes:
        """Return the boxes of the people in an image."""
        height, width = image.shape[:2]
        if self.detector:
            found = detect(self.detector, image, self.min_score)
            self.detected += len(found.people)
            self.others += found.others
            return found.people
        if self.file is None:
            return whole_image_box(width, height)
        boxes = self.file.boxes.get(image_id, NO_BOXES)
        boxes = boxes[boxes.score >= self.min_score]
        return boxes_inside(boxes, width, height, lambda line: self.warn(f"{name}: {line}"))

    def warn_of_unknown(self) -> None:
        """Warn of the images that the file of boxes does not mention."""
        if self.file and self.file.boxes and self.unknown:
            count = len(self.unknown)
            more = f" and {count - 1} more" if count > 1 else ""
            self.warn(f"{self.file.path}: does not mention {self.unknown[0]}{more}")

    def warn_of_other_labels(self) -> None:
        """Warn where the detector has found boxes and not one of them is a person."""
        if self.detector and self.others and not self.detected:
            labels = [label for label, _ in self.others.most_common()]
            count = self.others.total()
            self.warn(
                f"{self.detector.path}: {count} box{'es' * (count != 1)} with labels {', '.join(map(str, labels[:8]))}, none of people "
                f"({self.detector.person}): if one of these is its label of people, name it: `--person-label {labels[0]}`"
            )


def openable_media(inputs: list[MediaFile], warn: Warn) -> tuple[list[MediaFile], dict[Path, VideoHeader]]:
    """Return the inputs without the videos that cannot be opened, and the headers of the other videos by path."""
    kept, headers = [], {}
    for source in inputs:
        try:
            if source.is_video:
                headers[source.path] = read_video_header(source.path)
        except UserError as error:
            warn(f"{error}: left out")
        else:
            kept.append(source)
    return kept, headers


def frames_of(
    inputs: list[MediaFile],
    headers: dict[Path, VideoHeader],
    locator: PersonLocator,
    advance: Callable[[int], object],
    warn: Warn,
) -> Iterator[Frame]:
    """Yield every image and every frame that can be read. Videos are numbered from 1.

    `advance` is called for every frame and for every image, including unreadable ones.
    """
    videos = 0
    for source in inputs:
        videos += source.is_video
        try:
            if source.is_video:
                yield from _frames(source, headers[source.path], videos, locator, advance, warn)
            else:
                yield _image(source, locator, warn)
        except UserError as error:
            warn(f"{error}: left out")
        if not source.is_video:
            advance(1)


def _image(source: MediaFile, locator: PersonLocator, warn: Warn) -> Frame:
    image_id, wh = locator.identify(PurePosixPath(source.path.as_posix()), source.name)
    with tqdm.get_lock(), captured_stderr() as messages:  # the lock keeps the bar's own thread from writing
        image = read_image(source.path, wh)
    if messages:
        warn(f"{source.path}: {'; '.join(messages)}: used as it was decoded")
    return Frame(source, _entry(image_id, source.name, image), image, locator.boxes(image, image_id, source.name))


def _frames(
    source: MediaFile,
    header: VideoHeader,
    video_id: int,
    locator: PersonLocator,
    advance: Callable[[int], object],
    warn: Warn,
) -> Iterator[Frame]:
    count = 0
    for image in read_frames(source.path):
        number = f"{count:06d}"
        image_id, _ = locator.identify(PurePosixPath(source.path.as_posix()) / number, source.name / number)
        entry = {**_entry(image_id, source.name / number, image), "video_id": video_id, "frame_id": count}
        yield Frame(source, entry, image, locator.boxes(image, image_id, source.name / number))
        count += 1
        advance(1)
    if header.frames - count >= header.rate:
        warn(f"{source.path}: expected {header.frames} frames, found {count}: it is cut short")


def _entry(image_id: int, name: PurePosixPath, image: np.ndarray) -> dict[str, Any]:
    return {"id": image_id, "file_name": str(name), "width": image.shape[1], "height": image.shape[0]}
