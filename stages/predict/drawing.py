"""Writes what `predict` has drawn: JPEGs, and videos frame by frame. The drawing itself is in pipeline.drawing."""

from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.image_encoding import encode_image
from pipeline.common.stderr import captured_stderr
from pipeline.drawing import FIGURE_QUALITY
from pipeline.media.inputs import MediaFile
from pipeline.media.videos import VideoHeader, VideoWriter
from stages.predict.frames import Warn


class DrawingWriter:
    """Writes drawn images, and one video at a time, below a folder."""

    def __init__(self, folder: Path, headers: dict[Path, VideoHeader], warn: Warn) -> None:
        self.folder, self.headers, self.warn = folder, headers, warn
        self.written: set[PurePosixPath] = set()
        self.source: MediaFile | None = None
        self.writer: VideoWriter | None = None

    def add(self, source: MediaFile, drawn: np.ndarray) -> None:
        """Write an image, or append a frame to its video. An image that its format cannot hold is a warning."""
        path = self.folder / source.drawn_name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_video:
                self._append(source, drawn)
            else:
                with captured_stderr():
                    jpeg = encode_image(drawn, ".jpg", FIGURE_QUALITY)
                path.write_bytes(jpeg)
                self.written.add(source.drawn_name)
        except UserError as error:
            self.warn(f"{source.path}: not drawn: {error}")

    def _append(self, source: MediaFile, drawn: np.ndarray) -> None:
        if source is not self.source:
            self.close()
            self.source = source
            wh = (drawn.shape[1], drawn.shape[0])
            self.writer = VideoWriter(self.folder / source.drawn_name, wh, self.headers[source.path].rate)
            self.written.add(source.drawn_name)
        if self.writer:
            self.writer.write(drawn)

    def close(self) -> None:
        """Finish the video that is being drawn, if any."""
        if self.writer:
            self.writer.close()
        self.writer = None
