"""Video files: frames in, frames out, through OpenCV's FFmpeg. Pictures are in people/pictures.py."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import UserError
from pipeline.media.stderr import caught

CODEC = "mp4v"
"""MPEG-4 part 2, which OpenCV's wheels can write everywhere."""
USUAL_RATE = 25.0
QUIET = ("OPENCV_FFMPEG_LOGLEVEL", "-8")
"""Environment variable that keeps FFmpeg from writing to stderr what is said here in one line."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says."""

    frames: int
    """0 where it does not say."""
    rate: float
    """Frames a second."""


def video_facts(path: Path) -> VideoFacts:
    """UserError where the file is no video that FFmpeg reads."""
    capture = _opened(path)
    frames, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return VideoFacts(max(0, int(frames)), rate if 0 < rate <= 1000 else USUAL_RATE)


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """RGB frames uint8 (H, W, 3), turned as the file says, until the end or the first one that cannot be decoded.

    UserError where that is the very first.
    """
    capture = _opened(path)
    try:
        there, frame = capture.read()
        if not there:
            raise UserError(f"{path}: expected a video, found no frame that FFmpeg decodes")
        while there:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            there, frame = capture.read()
    finally:
        capture.release()


class VideoWriter:
    """An .mp4 file of RGB frames of one size; UserError where FFmpeg cannot write it."""

    def __init__(self, path: Path, wh: tuple[int, int], rate: float) -> None:
        os.environ.setdefault(*QUIET)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.wh = wh
        with caught():
            self.writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), rate, wh)
        if not self.writer.isOpened():
            raise UserError(f"a drawn video of {wh[0]} x {wh[1]} pixels cannot be written")

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (H, W, 3); one of another size is brought to that of the first."""
        if frame.shape[1::-1] != self.wh:
            frame = cv2.resize(frame, self.wh)
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        self.writer.release()


def _opened(path: Path) -> cv2.VideoCapture:
    os.environ.setdefault(*QUIET)
    try:
        with caught():
            # FFmpeg named outright: others read `%03d` in a name as a pattern.
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        opened = capture.isOpened()
    except (cv2.error, UnicodeError):
        opened = False
    if not opened:
        raise UserError(f"{path}: expected a video that FFmpeg reads, found none")
    return capture
