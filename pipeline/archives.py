"""Zip and tar archives from outside: looked through before anything is written, then unpacked file by file. Knows no dataset.

Only plain files and folders are let in, by our own hand: no link, no device, no mode bit or owner of an archive ever reaches
the disk. That is narrower than tarfile's `data` filter, which allows links that stay inside, and holds for zip files too.
"""

import gzip
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from pipeline.errors import UserError, one_line

CHUNK = 1 << 20
LARGEST_HEADER = 1 << 14
"""Bytes of one tar header record, which tarfile reads into memory whole, whatever length it claims."""
LARGEST_PADDING = 1 << 20
"""Bytes after the last tar entry; tar pads to 10 kB."""
MOST_ENTRIES = 1_000_000
LONGEST_NAME = 255
"""Bytes of one part of a path, as file systems have it."""

FILE, FOLDER = "file", "folder"
MODES = {0: FILE, stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: "a symbolic link"}
TAR_TYPES = {
    tarfile.REGTYPE: FILE,
    tarfile.AREGTYPE: FILE,
    tarfile.DIRTYPE: FOLDER,
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
}
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,  # NotImplementedError and RecursionError are of this kind
)
"""What the libraries raise on bytes that are not what they should be."""


@dataclass(frozen=True)
class Member:
    """One entry as the archive has it, not yet believed."""

    name: str
    kind: str
    """FILE, FOLDER, or what else it is, in words."""
    size: int
    """Bytes, as the archive says."""
    chunks: Callable[[], Iterator[bytes]]
    """Its content. Of a tar file only while it is the newest member."""


def look_through(archive: Path, room: int, advance: Callable[[int], object] = lambda count: None) -> dict[str, int]:
    """Sizes in bytes of all files inside by their path there (`/` between parts), in the archive's order.

    UserError for an archive that is damaged, has any entry that is not a plain file or folder below its own root, one path
    twice (also when only case or Unicode form differ), or more than `room` bytes in all. `advance` is told the bytes gone through.
    """
    sizes: dict[str, int] = {}
    files: set[str] = set()
    folders: set[str] = set()
    count = total = 0
    with _readable(archive), closing(_members(archive)) as members:
        for member in members:
            path = _path(archive, member)
            count += 1
            total += member.size
            if count > MOST_ENTRIES:
                raise _refusal(archive, member.name, f"is entry {count:,}, more than any dataset has")
            if total > room:
                raise UserError(
                    f"{archive}: unpacks to {total / 1e9:.1f} GB or more, {room / 1e9:.1f} GB free: "
                    "free some disk, then run this again"
                )
            key = _key(path)
            above = {key[: place.start()] for place in re.finditer("/", key)} | (
                {key} if member.kind == FOLDER else set()
            )
            if member.kind == FILE:
                if key in files:
                    raise _refusal(archive, member.name, "is there twice")
                files.add(key)
                sizes[path] = member.size
            folders |= above
            if above & files or (key in files and key in folders):
                raise _refusal(archive, member.name, "is a file and a folder at once")
            advance(member.size)
    return sizes


def unpack(archive: Path, places: Mapping[str, Path], advance: Callable[[int], object] = lambda count: None) -> None:
    """Write files of an archive that was looked through: path inside to a place where no file is yet.

    UserError if one is not inside or damaged. `advance` is told the bytes written.
    """
    left = dict(places)
    with _readable(archive), closing(_members(archive)) as members:
        for member in members:
            place = left.pop(_path(archive, member), None) if member.kind == FILE else None
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                written = 0
                with place.open("xb") as sink:
                    for chunk in member.chunks():
                        written += sink.write(chunk)
                        advance(len(chunk))
                if written != member.size:
                    raise ValueError(f"{written} bytes where {member.size} were announced")
            if not left:
                return
    if left:
        raise UserError(f"{archive}: expected {next(iter(left))} inside, found none: remove it, then run this again")


def _members(archive: Path) -> Generator[Member, None, None]:
    """All entries; what the file is tell its first bytes, not its name."""
    with archive.open("rb") as stream:
        start = stream.read(512)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members(archive)
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return _tar_members(archive, start.startswith(b"\x1f\x8b"))
    raise UserError(
        f"{archive}: neither a zip nor a tar archive: it begins with {start[:16]!r}: remove it, then run this again"
    )


def _zip_members(archive: Path) -> Generator[Member, None, None]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.header_offset < 0:
                raise ValueError("a place below zero")
            kind = MODES.get(stat.S_IFMT(info.external_attr >> 16), "a special file")
            if kind == FILE and info.filename.endswith("/"):  # which may be empty, unlike what `is_dir` expects
                kind = FOLDER
            if info.flag_bits & 1:
                kind = "an encrypted file"
            # `filename` ends at a zero byte; `orig_filename` is what the archive really says.
            yield Member(info.orig_filename, kind, info.file_size, partial(_zip_chunks, opened, info))


def _zip_chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with opened.open(info) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _tar_members(archive: Path, packed: bool) -> Generator[Member, None, None]:
    with archive.open("rb") as raw, gzip.open(raw) if packed else raw as stream:
        forward = Forward(cast(IO[bytes], stream))
        with tarfile.open(fileobj=cast(IO[bytes], forward), mode="r:") as opened:
            for info in opened:
                kind = "a sparse file" if info.issparse() else TAR_TYPES.get(info.type, "a special file")
                yield Member(info.name, kind, info.size, partial(_tar_chunks, forward, info))
        _refuse_rest(forward)


def _tar_chunks(stream: "Forward", info: tarfile.TarInfo) -> Iterator[bytes]:
    stream.seek(info.offset_data)
    left = info.size
    while left:
        chunk = stream.take(min(left, CHUNK))
        if not chunk:
            raise EOFError(f"ends within {info.name}")
        left -= len(chunk)
        yield chunk


def _refuse_rest(stream: "Forward") -> None:
    """Read to the end, which makes gzip compare its checksum; ValueError unless tar's end mark and padding is all that comes.

    tarfile takes a damaged header for the end, and so would drop all that follows.
    """
    if not stream.last:
        raise ValueError("it ends without tar's end mark")
    if (stream.last + stream.take(LARGEST_PADDING)).strip(b"\0") or stream.take(1):
        raise ValueError("a damaged header, or data after the last entry")


class Forward:
    """A byte stream for tarfile that only goes forward and gives no header record beyond LARGEST_HEADER."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.position = stream, 0
        self.last = b""
        """The newest header block; after the last entry, what stands where the next header would."""

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        """Skip to a place further on, or to the end if that comes first."""
        if position < self.position:
            raise ValueError("a length below zero")
        while self.position < position and self.take(min(position - self.position, CHUNK)):
            pass
        return self.position

    def read(self, count: int) -> bytes:
        """A header, for tarfile."""
        if not 0 <= count <= LARGEST_HEADER:
            raise ValueError(f"a header record of {count} bytes")
        self.last = self.take(count)
        return self.last

    def take(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        data = self.stream.read(count)
        self.position += len(data)
        return data


def _path(archive: Path, member: Member) -> str:
    """The entry's path with plain parts alone; UserError for one that is no file or folder below the root."""
    name = member.name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if member.kind not in (FILE, FOLDER):
        raise _refusal(archive, name, f"is {member.kind}")
    if name.startswith("/") or "\\" in name or ":" in name:
        raise _refusal(archive, name, "is an absolute path or one of another system")
    if ".." in parts:
        raise _refusal(archive, name, "leads out of the folder")
    if not name.isprintable() or (not parts and member.kind == FILE):
        raise _refusal(archive, name, "is no readable name")
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise _refusal(archive, name, "is too long a name")
    if member.size < 0:
        raise _refusal(archive, name, "has a size below zero")
    return "/".join(parts)


def _key(path: str) -> str:
    """Paths that some file system takes for the same have the same key."""
    return unicodedata.normalize("NFC", path).casefold()


def _refusal(archive: Path, name: str, why: str) -> UserError:
    shown = ascii(name if len(name) <= 80 else name[:77] + "...")
    return UserError(f"{archive}: refused, nothing was unpacked: {shown} {why}: get the archive from its maker")


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn what the libraries raise on damaged bytes into a UserError."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"{archive}: damaged, or no archive ({one_line(error)}): remove it, then run this again"
        ) from error
