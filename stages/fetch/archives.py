"""Zip and tar archives from outside: their entries are checked before anything is written, then unpacked file by file.

Only the content of plain files is ever written: no link, device, mode bit or owner of an archive reaches the disk.
"""

import gzip
import lzma
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from pipeline.common.errors import UserError, one_line

CHUNK = 1 << 20
LARGEST_HEADER = 1 << 20
"""Bytes of one tar header record, which tarfile reads into memory whole."""
MOST_ENTRIES = 1_000_000
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, OverflowError, MemoryError, RuntimeError, RecursionError, NotImplementedError),
    *(FileExistsError, NotADirectoryError, IsADirectoryError),  # one path twice, perhaps in another spelling
)
"""What the libraries raise on an archive that is not what it should be."""

Advance = Callable[[int], object]
"""Called with a number of bytes that are done."""


class ArchiveEntry(NamedTuple):
    """One entry as the archive states it, not yet checked."""

    path: str
    """Without `.` and doubled `/`."""
    size: int
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes]]


class StrictHeader(tarfile.TarInfo):
    """A tar header that is refused where it is damaged; tarfile takes a damaged one for the end and drops what follows."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header of one block. Raises ValueError, or tarfile.HeaderError at the archive's end."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise ValueError(str(error)) from error
        if header.size < 0 or (header.size > LARGEST_HEADER and not header.isreg()):
            raise ValueError(f"a header record of {header.size} bytes")
        return header


def list_files(archive: Path, free: int, advance: Advance = lambda count: None) -> dict[str, int]:
    """Sizes in bytes of all files inside by their path there, in the archive's order.

    Raises UserError for an archive that is damaged, unpacks to more than `free` bytes, or has an entry that is not a plain file or
    folder below the archive's own root.
    """
    sizes: dict[str, int] = {}
    total = 0
    with _one_line_errors(archive), closing(_entries(archive)) as entries:
        for count, entry in enumerate(entries, 1):
            outside = entry.path.split("/")[0] in ("", "..") or set("\\:") & set(entry.path)
            if outside or not (entry.is_file or entry.is_folder):
                reason = "leads out of the folder" if outside else "is a link, a device or another special file"
                name = ascii(entry.path if len(entry.path) <= 80 else entry.path[:77] + "...")
                raise UserError(
                    f"{archive}: refused, nothing was unpacked: {name} {reason}: get the archive from its maker"
                )
            if entry.size < 0 or count > MOST_ENTRIES:
                raise ValueError(f"entry {count:,} of {entry.size:,} bytes")
            total += entry.size
            if total > free:
                raise UserError(
                    f"{archive}: unpacks to {total / 1e9:.1f} GB or more, {free / 1e9:.1f} GB free: "
                    "free some disk, then run this again"
                )
            if entry.is_file:
                sizes[entry.path] = entry.size
            advance(entry.size)
    return sizes


def unpack(archive: Path, places: Mapping[str, Path], advance: Advance = lambda count: None) -> None:
    """Write files of an archive that `list_files` accepted: path inside to a place where no file is yet.

    Raises UserError if the archive is damaged or has a path twice.
    """
    with _one_line_errors(archive), closing(_entries(archive)) as entries:
        for entry in entries:
            if entry.is_file and entry.path in places:
                place = places[entry.path]
                place.parent.mkdir(parents=True, exist_ok=True)
                with entry.open() as source, place.open("xb") as sink:
                    while chunk := source.read(CHUNK):
                        advance(sink.write(chunk))


def _entries(archive: Path) -> Generator[ArchiveEntry, None, None]:
    """All entries. The first bytes decide what the file is, not its name."""
    with archive.open("rb") as stream:
        start = stream.read(512)
    packed = start.startswith(b"\x1f\x8b")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if info.header_offset < 0:  # seeking there would be an error of the disk
                    raise ValueError("an entry that begins before the file")
                is_folder = info.filename.endswith("/")
                is_file = not is_folder and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                yield ArchiveEntry(
                    posixpath.normpath(info.filename), info.file_size, is_file, is_folder, partial(opened.open, info)
                )
    elif packed or start[257:262] == b"ustar":
        with (
            cast(IO[bytes], gzip.open(archive)) if packed else archive.open("rb") as content,
            tarfile.open(fileobj=content, mode="r:", tarinfo=StrictHeader) as tar,
        ):
            for member in tar:
                reader = cast(Callable[[], IO[bytes]], partial(tar.extractfile, member))
                yield ArchiveEntry(posixpath.normpath(member.name), member.size, member.isreg(), member.isdir(), reader)
            while content.read(CHUNK):  # gzip compares its checksum at the end
                pass
    else:
        raise UserError(
            f"{archive}: neither a zip nor a tar archive: it begins with {start[:16]!r}: remove it, then run this again"
        )


@contextmanager
def _one_line_errors(archive: Path) -> Iterator[None]:
    """Turn what the libraries raise on damaged bytes into a UserError."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"{archive}: damaged, or no archive ({one_line(error)}): remove it, then run this again"
        ) from error
