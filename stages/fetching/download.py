"""One file from the network: taken up where it stopped, checked, then renamed into place. Knows no catalogue and no archive.

Beside the place of FILE lie, until it is whole, `FILE.partial` and `FILE.partial.version`, the server's name of the version it is
a part of. A server whose file has changed since then sends it from the start (RFC 9110, section 13.1.5, If-Range).
"""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from pipeline.errors import UserError, one_line
from pipeline.files import flush, sha256
from stages.progress import progress

CHUNK = 1 << 16
TIMEOUT = (20.0, 60.0)
"""Seconds for a connection, seconds of silence."""
TRIES = 4
"""Requests in a row that brought nothing new, after which we give up."""
PAUSE = 1.0
"""Seconds before another; doubles from the second of them on."""
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers that another try may change."""
HOPELESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
)


class Interrupted(Exception):
    """A request that brought less than all; another may bring the rest. Never leaves this module."""


def is_right(place: Path, expected: str) -> bool:
    """Whether the file is there, with a sha256 that begins with `expected`; UserError if something else is there."""
    if not place.exists():
        return False
    if not place.is_file():
        raise UserError(f"{place}: expected a file, found a folder: remove or rename it, then run this again")
    found = sha256(place)
    if not found.startswith(expected):
        raise UserError(
            f"{place}: not the published file: expected a sha256 of {expected}..., found {found}: "
            "remove or rename it, then run this again"
        )
    return True


def download(
    address: str,
    place: Path,
    expected: str = "",
    size: int | None = None,
    copies: int = 1,
    say: Callable[[str], object] = print,
) -> None:
    """Bring the file to its place, whole and with a sha256 that begins with `expected`, or raise UserError.

    `size`: bytes it must have, where known. `copies`: how many times its size the disk must hold, for what is unpacked from it.
    Interrupted in any way, the part that has come stays for the next call.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".partial")
    by_hand = f"fetch it by hand and put it at {place}, then run this again: {address}"
    longest, failures = _length(partial), 0
    with progress(0, f"fetch {place.name}", "B") as bar:
        bar.unit_scale = True
        while True:
            try:
                _request(address, partial, size, copies, by_hand, bar)
                break
            except Interrupted as error:
                failures = 0 if _length(partial) > longest else failures + 1
                longest = max(longest, _length(partial))
                if failures == TRIES:
                    raise UserError(f"{place.name}: {urlsplit(address).netloc}: {error}: {by_hand}") from error
                pause = PAUSE * 2 ** max(failures - 1, 0)
                say(f"{urlsplit(address).netloc}: {error}: trying again in {pause:g} s")
                time.sleep(pause)
    found = sha256(partial)
    if not found.startswith(expected):
        _discard(partial)
        raise UserError(
            f"{place.name}: damaged on the way or changed by its maker: expected a sha256 of {expected}..., found {found}: "
            f"removed; run this again, or {by_hand}"
        )
    flush(partial)
    os.replace(partial, place)
    _discard(partial)


def _request(address: str, partial: Path, size: int | None, copies: int, by_hand: str, bar: Any) -> None:
    """Ask for what is missing and write it down; Interrupted if that was not all."""
    version = _version_file(partial).read_text(errors="replace") if _version_file(partial).is_file() else ""
    held = _length(partial) if version else 0
    headers = {"Accept-Encoding": "identity"}
    if held:
        headers |= {"Range": f"bytes={held}-", "If-Range": version}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code in PASSING:
                raise Interrupted(f"answered {answer.status_code}")
            if answer.status_code not in (200, 206, 416):
                raise UserError(f"{partial.stem}: {urlsplit(address).netloc} answered {answer.status_code}: {by_hand}")
            start, total = _extent(answer)
            if answer.status_code == 416 and total == held and _version(answer) in ("", version):
                return
            if start and (start != held or _version(answer) not in ("", version)):
                _discard(partial)
                raise Interrupted("has another version of the file by now")
            _refuse_size(partial, total, size, by_hand)
            _refuse_full_disk(partial, total, start, copies)
            if start == 0:
                _begin(partial, _version(answer))
            bar.total, bar.n, bar.initial, bar.last_print_n = total, start, start, start
            with partial.open("ab") as sink:
                # The bytes as they lie on the server: some label a .tar.gz as an encoding and have clients unpack it.
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    sink.write(chunk)
                    bar.update(len(chunk))
    except HOPELESS as error:
        raise UserError(f"{partial.stem}: {_reason(error)}: {by_hand}") from error
    except (requests.RequestException, HTTPError) as error:
        raise Interrupted(_reason(error)) from error
    if total is not None and _length(partial) != total:
        raise Interrupted(f"sent {_length(partial):,} of {total:,} bytes")


def _extent(answer: requests.Response) -> tuple[int, int | None]:
    """First byte that the answer brings and the length of the whole file, None where the server doesn't say."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    first, total = found.groups() if found else (None, None)
    return (-1 if first is None else int(first)), (int(total) if total and total != "*" else None)


def _version(answer: requests.Response) -> str:
    """What names this version of the file for If-Range: a strong ETag, else the date; empty where there is neither."""
    tag = answer.headers.get("ETag", "")
    name = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
    return name.strip() if name.isascii() else ""


def _begin(partial: Path, version: str) -> None:
    """An empty partial file. Without a version it cannot be taken up again, since the file may change meanwhile."""
    _version_file(partial).unlink(missing_ok=True)
    partial.write_bytes(b"")
    if version:
        _version_file(partial).write_text(version)


def _refuse_size(partial: Path, total: int | None, size: int | None, by_hand: str) -> None:
    if size is not None and total is not None and total != size:
        raise UserError(f"{partial.stem}: expected {size:,} bytes, the server offers {total:,}: {by_hand}")


def _refuse_full_disk(partial: Path, total: int | None, start: int, copies: int) -> None:
    """UserError if what is to come has no room on the disk."""
    free = shutil.disk_usage(partial.parent).free + (_length(partial) if start == 0 else 0)
    needed = (total or 0) * copies - start
    if needed > free:
        raise UserError(
            f"{partial.parent}: {needed / 1e9:.1f} GB needed for {partial.stem}, {free / 1e9:.1f} GB free: "
            "free some disk, then run this again"
        )


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)


def _version_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".version")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    """An exception of the network libraries in a few words; their own are a paragraph of objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    if isinstance(error, requests.RequestException):
        return one_line(error)
    return "the connection broke"
