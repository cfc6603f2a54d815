"""Writing what `predict` has drawn: JPEGs, and videos frame by frame. What is drawn lives in pipeline.drawing."""

from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from pipeline.errors import UserError
from pipeline.media.inputs import Input
from pipeline.media.stderr import caught
from pipeline.media.videos import VideoFacts, VideoWriter
from stages.predicting.shots import Warn

QUALITY = 90
"""Of the JPEGs."""


class Drawing:
    """Writes drawn pictures, and one video at a time, below a folder."""

    def __init__(self, folder: Path, facts: dict[Path, VideoFacts], warn: Warn) -> None:
        self.folder, self.facts, self.warn = folder, facts, warn
        self.written: set[PurePosixPath] = set()
        self.source: Input | None = None
        self.writer: VideoWriter | None = None

    def add(self, source: Input, drawn: np.ndarray) -> None:
        """Write a picture, or append a frame; a format's limits are a warning."""
        (self.folder / source.drawn).parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_video:
                self._append(source, drawn)
            else:
                (self.folder / source.drawn).write_bytes(_jpeg(drawn))
                self.written.add(source.drawn)
        except UserError as error:
            self.warn(f"{source.path}: not drawn: {error}")

    def _append(self, source: Input, drawn: np.ndarray) -> None:
        if source is not self.source:
            self.close()
            self.source = source
            wh = (drawn.shape[1], drawn.shape[0])
            self.writer = VideoWriter(self.folder / source.drawn, wh, self.facts[source.path].rate)
            self.written.add(source.drawn)
        if self.writer:
            self.writer.write(drawn)

    def close(self) -> None:
        """Finish the video that is being drawn, if any."""
        if self.writer:
            self.writer.close()
        self.writer = None


def _jpeg(picture: np.ndarray) -> bytes:
    """The file of an RGB picture; UserError where JPEG cannot hold it (more than 65,500 pixels a side)."""
    try:
        with caught():
            done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"{picture.shape[1]} x {picture.shape[0]} pixels are too many for a JPEG")
    return bytes(data.tobytes())
