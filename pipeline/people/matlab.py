"""MATLAB files of versions 5 to 7, walked through element by element before SciPy sees them. No dataset is known here.

SciPy's reader trusts the codes and counts that it finds: a changed bit can end the process. So every tag is checked here first, and
what SciPy gets are the very bytes that were checked, unpacked (MAT-File Format, MathWorks: Level 5).
"""

import io
import math
import os
import struct
import zlib
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.people.parse import read_bytes, reason

HEADER = 128
LARGEST = 1 << 32
"""Bytes of all variables, unpacked: fifteen times those of MPII's release."""
DEEPEST = 32
"""Of structs and cells inside each other; MPII's release has 6."""
MOST_EMPTY = 1 << 20
"""Elements of an array of structs without fields, which takes no bytes at all."""

INT8, INT32, UINT32, MATRIX, PACKED = 1, 5, 6, 14, 15
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of one number by type of element."""
TEXT = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}
"""Of one character; UTF-8 may take several."""
UTF8 = 16
CELL, STRUCT, CHARACTERS = 1, 2, 4
NUMBERS = range(6, 16)
"""Classes of arrays of numbers. Objects, sparse arrays and function handles are no annotations."""
COMPLEX = 0x0800
VALUES_AT = (52, 56)
"""Where the values of a matrix without a name begin, those of up to four bytes and others."""


def read_mat(path: str | os.PathLike[str], structs: bool = False) -> dict[str, Any]:
    """The variables of a MATLAB file of version 5 to 7; `structs`: structs as objects, squeezed. Else UserError."""
    from scipy.io import loadmat

    data = read_bytes(path)
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise UserError(
            f"{path}: expected a MATLAB file of version 7 or older, found version 7.3 (HDF5): "
            "in MATLAB, load it and write it again with `save(name, '-v7')`"
        )
    options: dict[str, Any] = {"struct_as_record": False, "squeeze_me": True} if structs else {}
    try:
        return loadmat(io.BytesIO(unpacked(data)), **options)
    except (
        Exception
    ) as error:  # what is well formed can still be nonsense, and SciPy lets through whatever it trips over
        raise UserError(f"{path}: expected a MATLAB file, found {reason(error)}") from error


def unpacked(data: bytes) -> bytes:
    """The file with its packed variables unpacked; ValueError where it is not made of whole arrays of numbers, texts, cells, structs."""
    if len(data) < HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("none of version 5 to 7")
    walk = Walk(">" if data[126:128] == b"MI" else "<")
    if walk.number("H", data, 124) >> 8 != 1:
        raise ValueError("none of version 5 to 7")
    parts, length, at = [data[:HEADER]], 0, HEADER
    while at < len(data):
        kind, start, end, following = walk.tag(data, at, len(data))
        # Top-level variables that are packed come without padding.
        inside, whole = (unzipped(data[start:end], LARGEST - length), True) if kind == PACKED else (data[at:end], False)
        if walk.matrix(inside, 0, len(inside), 0) < len(inside):
            raise ValueError("bytes behind a variable")
        parts += [inside, bytes(-len(inside) % 8)]
        length += len(inside)
        at = end if whole else following
    return b"".join(parts)


def unzipped(data: bytes, most: int) -> bytes:
    """What zlib packed; ValueError where it is cut short, damaged or of more than `most` bytes."""
    machine = zlib.decompressobj()
    try:
        found = machine.decompress(data, max(most, 1))
    except zlib.error as error:
        raise ValueError("a variable that cannot be unpacked") from error
    if not machine.eof:
        raise ValueError("a variable that is cut short, or unpacks to gigabytes")
    return found


class Walk:
    """Through the elements of one file, of one byte order."""

    def __init__(self, order: str) -> None:
        self.formats = {kind: struct.Struct(order + kind) for kind in ("H", "I", "II")}
        self.int32 = np.dtype(order + "i4")
        self.known: dict[bytes, int] = {}
        """Beginnings, up to their values, of small arrays of numbers that were found whole, and their lengths: most are alike."""

    def number(self, kind: str, data: bytes, at: int) -> int:
        return int(self.formats[kind].unpack_from(data, at)[0])

    def tag(self, data: bytes, at: int, limit: int) -> tuple[int, int, int, int]:
        """Type of the element there, where its content starts and ends, and where the next one is; within `limit`."""
        if at + 8 > limit:
            raise ValueError("an element that is cut short")
        kind, count = self.formats["II"].unpack_from(data, at)
        if kind >> 16:  # the small form: up to four bytes within the tag
            kind, count, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if count > 4:
                raise ValueError("an element that is cut short")
        else:
            start = at + 8
            following = min(start + count + -count % 8, limit)
        if start + count > limit:
            raise ValueError("an element that is cut short")
        return kind, start, start + count, following

    def element(self, data: bytes, at: int, limit: int, kinds: Any) -> tuple[int, int, int, int]:
        """The tag of an element that must be of one of those types, of a whole number of values."""
        found = self.tag(data, at, limit)
        if found[0] not in kinds or (found[2] - found[1]) % (SIZES.get(found[0]) or TEXT.get(found[0]) or 1):
            raise ValueError("an element of another type")
        return found

    def matrix(self, data: bytes, at: int, limit: int, depth: int) -> int:
        """Check the array there, and all in it; where the next element is."""
        for length in VALUES_AT:
            whole = self.known.get(data[at : at + length])
            if whole and depth and at + whole <= limit:
                return at + whole
        begin = at
        kind, start, end, following = self.tag(data, at, limit)
        if kind != MATRIX or depth > DEEPEST:
            raise ValueError("an element of another type" if kind != MATRIX else "arrays nested too deep")
        if start == end:
            if not depth:
                raise ValueError("a variable without content")
            return following
        _, flags_at, flags_end, at = self.element(data, start, end, (UINT32,))
        if flags_end - flags_at != 8:
            raise ValueError("an array without flags")
        flags = self.number("I", data, flags_at)
        _, first, last, at = self.element(data, at, end, (INT32,))
        dims = np.frombuffer(data, self.int32, (last - first) // 4, first).tolist()
        if not 2 <= len(dims) <= DEEPEST or min(dims) < 0:
            raise ValueError(f"an array of shape {dims[:8]}")
        _, name, name_end, at = self.element(data, at, end, (INT8,))
        if depth == 0 and not (name < name_end and data[name:name_end].isascii()):
            raise ValueError("a variable without a name")
        values = at
        at = self.content(data, at, end, (flags & 0xFF, bool(flags & COMPLEX), math.prod(dims)), depth)
        if at < end:
            raise ValueError("bytes behind an array")
        if flags & 0xFF in NUMBERS and not flags & COMPLEX and (end - start) % 8 == 0:
            beginning = self.element(data, values, end, SIZES)[1] - begin
            if beginning in VALUES_AT:
                self.known[data[begin : begin + beginning]] = following - begin
        return following

    def content(self, data: bytes, at: int, end: int, what: tuple[int, bool, int], depth: int) -> int:
        """Check what an array of that class, complex or not, of so many elements consists of; where it ends."""
        kind, imaginary, count = what
        if kind in NUMBERS:
            for _ in range(2 if imaginary else 1):
                number, start, stop, at = self.element(data, at, end, SIZES)
                if (stop - start) // SIZES[number] != count:
                    raise ValueError(f"an array of {count} elements with {(stop - start) // SIZES[number]}")
            return at
        if kind == CHARACTERS:
            coded, start, stop, at = self.element(data, at, end, TEXT)
            held = len(data[start:stop].decode("utf-8")) if coded == UTF8 else (stop - start) // TEXT[coded]
            if held != count:
                raise ValueError(f"a text of {count} characters with {held}")
            return at
        if kind == STRUCT:
            count *= (fields := self.fields(data, at, end))[0]
            at = fields[1]
            if not fields[0] and what[2] > MOST_EMPTY:
                raise ValueError(f"{what[2]} structs without a field")
        elif kind != CELL:
            raise ValueError(f"an array of class {kind}")
        if count > (end - at) // 8:  # every element has a tag
            raise ValueError(f"{count} elements in {end - at} bytes")
        for _ in range(count):
            at = self.matrix(data, at, end, depth + 1)
        return at

    def fields(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """How many fields a struct has, and where their values start; ValueError for names that are no identifiers."""
        _, start, stop, at = self.element(data, at, end, (INT32,))
        if stop - start != 4 or not 0 < (length := self.number("I", data, start)) <= 1024:
            raise ValueError("a struct without names of its fields")
        _, start, stop, at = self.element(data, at, end, (INT8,))
        if (stop - start) % length:
            raise ValueError("a struct without names of its fields")
        names = [data[place : place + length].partition(b"\0")[0] for place in range(start, stop, length)]
        if len(set(names)) < len(names) or not all(name.isascii() and name.decode().isidentifier() for name in names):
            raise ValueError("a struct without names of its fields")
        return len(names), at
