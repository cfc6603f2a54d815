"""Reads and writes the frames of video files through OpenCV's FFmpeg. Images are in pipeline.people.images."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.stderr import captured_stderr

CODEC = "mp4v"
"""MPEG-4 part 2, which OpenCV's wheels can write on every platform."""
DEFAULT_FRAME_RATE = 25.0
"""Frames a second of a video whose header states no usable rate."""
FFMPEG_LOG_LEVEL = ("OPENCV_FFMPEG_LOGLEVEL", "-8")
"""Environment variable that keeps FFmpeg from writing to stderr: errors are reported here in one line."""


@dataclass(frozen=True)
class VideoHeader:
    """The length and speed that a video's header states."""

    frames: int
    """Number of frames; 0 where the header states none."""
    rate: float
    """Frames a second."""


def read_video_header(path: Path) -> VideoHeader:
    """Read a video's header; UserError where the file is no video that FFmpeg reads."""
    capture = _opened(path)
    frames, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return VideoHeader(max(0, int(frames)), rate if 0 < rate <= 1000 else DEFAULT_FRAME_RATE)


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield RGB frames, uint8 (H, W, 3), rotated as the file states, until the end or the first that cannot be decoded.

    UserError where the first frame cannot be decoded.
    """
    capture = _opened(path)
    try:
        decoded, frame = capture.read()
        if not decoded:
            raise UserError(f"{path}: expected a video, found no frame that FFmpeg decodes")
        while decoded:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            decoded, frame = capture.read()
    finally:
        capture.release()


class VideoWriter:
    """Writes an .mp4 file of RGB frames of one size; UserError where FFmpeg cannot write it."""

    def __init__(self, path: Path, wh: tuple[int, int], rate: float) -> None:
        os.environ.setdefault(*FFMPEG_LOG_LEVEL)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.wh = wh
        with captured_stderr():
            self.writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), rate, wh)
        if not self.writer.isOpened():
            raise UserError(f"a drawn video of {wh[0]} x {wh[1]} pixels cannot be written")

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (H, W, 3). A frame of another size is resized to that of the first."""
        if frame.shape[1::-1] != self.wh:
            frame = cv2.resize(frame, self.wh)
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        self.writer.release()


def _opened(path: Path) -> cv2.VideoCapture:
    os.environ.setdefault(*FFMPEG_LOG_LEVEL)
    try:
        with captured_stderr():
            # FFmpeg is named, because other backends read `%03d` in a name as a pattern.
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        opened = capture.isOpened()
    except (cv2.error, UnicodeError):
        opened = False
    if not opened:
        raise UserError(f"{path}: expected a video that FFmpeg reads, found none")
    return capture
