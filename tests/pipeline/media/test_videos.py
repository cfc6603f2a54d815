"""Videos: what is written comes back, and what is none is one error and no noise."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.media.videos import VideoHeader, VideoWriter, read_frames, read_video_header

WH = (64, 48)


def write(path: Path, levels: list[int], wh: tuple[int, int] = WH, rate: float = 10.0) -> None:
    """Frames of one blue-green each, (0, level, 200) in RGB."""
    writer = VideoWriter(path, wh, rate)
    for level in levels:
        writer.write(np.full((wh[1], wh[0], 3), (0, level, 200), np.uint8))
    writer.close()


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    levels = [0, 60, 120, 180, 240]
    write(tmp_path / "a %02d.mp4", levels)
    assert read_video_header(tmp_path / "a %02d.mp4") == VideoHeader(5, 10.0)
    frames = list(read_frames(tmp_path / "a %02d.mp4"))
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    middle = np.array([frame[24, 32] for frame in frames], int)
    expected = np.array([(0, level, 200) for level in levels])
    assert np.abs(middle - expected).max() <= 12  # lossy, and colours at half the resolution and in 220 levels


def test_a_frame_of_another_size_is_brought_to_the_firsts(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", WH, 10.0)
    for wh in (WH, (32, 24)):
        writer.write(np.zeros((wh[1], wh[0], 3), np.uint8))
    writer.close()
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 2


@pytest.mark.parametrize("how", ["absent", "text", "cut short"])
def test_what_is_no_video(tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    if how == "text":
        path.write_text("no video at all " * 100)
    elif how == "cut short":  # without the index at its end
        write(path, [0] * 20)
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"a\.mp4: expected a video that FFmpeg reads, found none"):
        read_video_header(path)
    assert capfd.readouterr().err == ""


def test_what_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="a drawn video of 1 x 1 pixels cannot be written"):
        VideoWriter(tmp_path / "a.mp4", (1, 1), 10.0)
    assert capfd.readouterr().err == ""
