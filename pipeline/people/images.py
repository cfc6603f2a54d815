"""Image files: safe paths, decoding to RGB in the annotated orientation, sizes. No annotations, no crops."""

import struct
from pathlib import Path

import cv2
import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath
from pipeline.people.validation import Phrase, fail, file_name, read_bytes, reason

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"

MOST_PIXELS = 2**28
"""Pixels of an image at most: a JPEG or PNG with more is made to fill the memory. For other formats OpenCV's own limit holds, 4 x that."""

EXIF_BYTES, ORIENTATION_TAG = 2**17, 0x0112
"""Bytes at a file's start that hold its EXIF data, a segment of at most 64 kB, and the tag of its orientation."""


def safe_path(folder: FilePath, name: str) -> Path:
    """Return `folder / name`; UserError if the name leaves the folder: absolute, or by `..`.

    A link in the folder may lead anywhere: whoever owns the folder made it, as do the caches of DVC, git-annex and model hubs.
    """
    return Path(folder) / file_name(name, str(folder))


def read_image(path: FilePath, wh: tuple[int, int] | np.ndarray | None = None) -> np.ndarray:
    """Read an image in RGB, uint8 (H, W, 3); grey, alpha and 16-bit ones are converted.

    EXIF orientation applies, as in OpenCV's imread and MMPose, unless the annotated (width, height) fits the image only as it is
    stored; UserError where it fits neither. So EXIF decides without a size, or with (0, 0), and where the size cannot tell: half
    a turn, mirrored images, squares. UserError names a file that is missing, empty, cut short or broken.
    """
    data = read_bytes(path)
    if is_cut_short(data):
        raise UserError(f"{path}: expected a complete image, found {len(data)} bytes without its end")
    _refuse_huge(path, stored_size(data))
    image = decode_image(data, path, oriented=True)
    if wh is None or not np.any(wh) or image.shape[1::-1] == (int(wh[0]), int(wh[1])):
        return image
    image = decode_image(data, path, oriented=False)
    if image.shape[1::-1] != (int(wh[0]), int(wh[1])):
        found = Phrase(f"{image.shape[1]} x {image.shape[0]}")
        fail(str(path), f"an image of {int(wh[0])} x {int(wh[1])} pixels, as annotated", found)
    return image


def read_prepared_image(path: FilePath, wh: tuple[int, int] | np.ndarray, size: int | None) -> np.ndarray:
    """Read an image as `read_image` does; UserError too where the file has not the `size` in bytes that the image manifest states.

    It has changed since then, and tables and stores speak of another image.
    """
    image = read_image(path, wh)
    found = Path(path).stat().st_size
    if size is not None and found != size:
        fail(str(path), f"the {size} bytes that it had when it was prepared", Phrase(f"{found}"))
    return image


def decode_image(data: bytes, path: FilePath, oriented: bool) -> np.ndarray:
    """Decode an image to RGB, uint8 (H, W, 3), with EXIF orientation applied if `oriented`; UserError names `path`."""
    flags = cv2.IMREAD_COLOR if oriented else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f"{path}: expected an image, found {reason(error)}") from error
    if image is None:
        raise UserError(f"{path}: expected an image, found {len(data)} bytes of another kind")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decoder_reads(data: bytes) -> bool:
    """Return whether the decoder gives an image for these bytes, in an eighth of its size, which is the cheapest way to ask."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
    except cv2.error:
        return False


def is_turned_by_exif(path: FilePath) -> bool:
    """Return whether EXIF turns a JPEG by 90 degrees: its orientation is 5 to 8 (EXIF 2.3, 4.6.4). Only the file's start is read.

    A file that cannot be read is left to `read_image`, which names it.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(EXIF_BYTES)
    except (OSError, ValueError):
        return False
    for marker, start, end in jpeg_segments(data):
        body = data[start:end]
        if marker != 0xE1 or not body.startswith(b"Exif\0\0"):
            continue
        tiff, order = body[6:], ">" if body[6:8] == b"MM" else "<"
        try:
            (first,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, first)
            entries = [struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * n) for n in range(count)]
        except struct.error:
            return False
        return any(tag == ORIENTATION_TAG and value >= 5 for tag, _, _, value in entries)
    return False


def image_size(path: FilePath) -> tuple[int, int]:
    """Return width and height of `read_image(path)`, from the header alone unless the file has EXIF."""
    size = header_size(read_bytes(path))
    if size is None:
        height, width = read_image(path).shape[:2]
        return width, height
    _refuse_huge(path, size)
    return size


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG or PNG without EXIF, None if only decoding reveals them."""
    exif = b"eXIf" in data if data.startswith(PNG) else any(marker == 0xE1 for marker, _, _ in jpeg_segments(data))
    return None if exif else stored_size(data)


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a JPEG or PNG, before EXIF orientation; None for other formats."""
    if data.startswith(PNG) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    size = None
    for marker, start, end in jpeg_segments(data):
        # Start-of-frame markers are C0-CF without DHT, JPG and DAC (ITU T.81, table B.1).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - start >= 5:
            height, width = struct.unpack(">HH", data[start + 1 : start + 5])
            size = (int(width), int(height)) if width and height else None
    return size


def _refuse_huge(path: FilePath, size: tuple[int, int] | None) -> None:
    if size and size[0] * size[1] > MOST_PIXELS:
        fail(str(path), f"an image of at most {MOST_PIXELS:,} pixels", Phrase(f"{size[0]} x {size[1]}"))


def jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return marker, payload start and end of each JPEG segment up to and with the start of scan; [] for other files."""
    segments: list[tuple[int, int, int]] = []
    at = 2
    while data.startswith(JPEG) and at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((marker, at + 4, at + 2 + length))
        if marker == 0xDA:
            break
        at += 2 + length
    return segments


def is_cut_short(data: bytes) -> bool:
    """Return whether a JPEG or PNG lacks its end mark; False for other formats.

    OpenCV 5 refuses such bytes as well, but not such files (imread fills the rest with grey), and prints a warning.
    """
    if data.startswith(PNG):
        return b"IEND" not in data
    if data.startswith(JPEG):
        segments = jpeg_segments(data)
        # Only after the start of scan, since a thumbnail in EXIF has an end mark of its own.
        return not segments or segments[-1][0] != 0xDA or data.find(b"\xff\xd9", segments[-1][2]) < 0
    return False
