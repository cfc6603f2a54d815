"""One file from the network: resumed where it stopped, checked, then renamed into place. No catalogue and no archive is known here.

Until FILE is complete, `FILE.partial` and `FILE.partial.version` lie beside its place. The latter holds the server's name of the
version; a server whose file has changed since then sends it from the start (RFC 9110, section 13.1.5, If-Range).
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

from pipeline.common.errors import UserError, one_line
from pipeline.common.files import flush, sha256
from pipeline.common.progress import progress

CHUNK = 1 << 16
TIMEOUT = (20.0, 60.0)
"""Seconds for a connection, seconds of silence."""
TRIES = 4
"""Requests in a row that brought nothing new, after which the download fails."""
PAUSE = 1.0
"""Seconds before another request; they double from the second failure on."""
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
"""Status codes that another request may change."""
PERMANENT = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
)
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (requests.exceptions.SSLError, "the server's certificate was not accepted"),
    (requests.exceptions.ProxyError, "the proxy cannot be reached"),
    (requests.Timeout, "no answer in time"),
    (requests.ConnectionError, "cannot be reached"),
    (HTTPError, "the connection broke"),
)
"""Exceptions of the network libraries in a few words; their own messages are a paragraph of objects."""


class Interrupted(Exception):
    """A request that brought less than all; another may bring the rest. It never leaves this module."""


class Refused(Exception):
    """A download that no further request can complete. It never leaves this module."""


def mirrored(address: str, mirror: str | None) -> str:
    """The maker's address, or the same path below a mirror. Raises UserError for a mirror that is no web address."""
    if mirror is None:
        return address
    try:
        parts = urlsplit(mirror)
        usable = parts.scheme in ("http", "https") and bool(parts.netloc)
    except ValueError:  # brackets that do not match
        usable = False
    if not usable:
        raise UserError(f"--mirror: expected an address like https://example.org/files, found {mirror!r}")
    return mirror.rstrip("/") + urlsplit(address).path


def download(
    address: str,
    place: Path,
    expected: str = "",
    size: int | None = None,
    copies: int = 1,
    log: Callable[[str], object] = print,
) -> None:
    """Bring the complete file, with a sha256 that begins with `expected`, to its place, or raise UserError.

    `size`: bytes that it must have, where known. `copies`: how many times its size the disk must hold, for what is unpacked from
    it. If the download is interrupted in any way, the part that has come stays for the next call.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".partial")
    version_file = partial.with_name(partial.name + ".version")
    host = urlsplit(address).netloc
    manually = f"download it manually, put it at {place}, then run this again: {address}"
    longest, failures = _length(partial), 0
    with progress(0, f"fetch {place.name}", "B") as bar:
        bar.unit_scale = True
        while True:
            try:
                _request(address, partial, version_file, size, copies, bar)
                break
            except Refused as error:
                raise UserError(f"{place.name}: {error}: {manually}") from error
            except Interrupted as error:
                failures = 0 if _length(partial) > longest else failures + 1
                longest = max(longest, _length(partial))
                if failures == TRIES:
                    raise UserError(f"{place.name}: {host}: {error}: {manually}") from error
                pause = PAUSE * 2 ** max(failures - 1, 0)
                log(f"{host}: {error}: trying again in {pause:g} s")
                time.sleep(pause)
    digest = sha256(partial)
    if not digest.startswith(expected):
        partial.unlink()
        version_file.unlink(missing_ok=True)
        raise UserError(
            f"{place.name}: damaged in transfer or changed by its maker: expected a sha256 of {expected}..., found {digest}: "
            f"removed; run this again, or {manually}"
        )
    flush(partial)
    os.replace(partial, place)
    version_file.unlink(missing_ok=True)


def _request(address: str, partial: Path, version_file: Path, size: int | None, copies: int, bar: Any) -> None:
    """Request what is missing and write it. Raises Interrupted if that was not all, Refused or UserError if it cannot become all."""
    version = version_file.read_text(errors="replace") if version_file.is_file() else ""
    held = _length(partial) if version else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-", "If-Range": version} if held else {})
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code in TEMPORARY:
                raise Interrupted(f"answered {answer.status_code}")
            if answer.status_code not in (200, 206, 416):
                raise Refused(f"{urlsplit(address).netloc} answered {answer.status_code}")
            start, total = _extent(answer)
            same_version = _version(answer) in ("", version)
            if answer.status_code == 416 and total == held and same_version:
                return
            if start and (start != held or not same_version):
                partial.unlink(missing_ok=True)
                raise Interrupted("has another version of the file by now")
            if size is not None and total is not None and total != size:
                raise Refused(f"expected {size:,} bytes, the server offers {total:,}")
            _refuse_full_disk(partial, (total or 0) * copies - start, 0 if start else _length(partial))
            if start == 0:
                partial.write_bytes(b"")
                version_file.write_text(_version(answer))
            bar.total, bar.n, bar.initial, bar.last_print_n = total, start, start, start
            with partial.open("ab") as sink:
                # The bytes as they lie on the server: some label a .tar.gz as an encoding and have clients unpack it.
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    sink.write(chunk)
                    bar.update(len(chunk))
    except (requests.RequestException, HTTPError) as error:
        reason = next((words for kind, words in REASONS if isinstance(error, kind)), one_line(error))
        raise (Refused if isinstance(error, PERMANENT) else Interrupted)(reason) from error
    if total is not None and _length(partial) != total:
        raise Interrupted(f"sent {_length(partial):,} of {total:,} bytes")


def _extent(answer: requests.Response) -> tuple[int, int | None]:
    """First byte that the answer brings and the length of the whole file, None where the server does not state it."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    extent = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    first, total = extent.groups() if extent else (None, None)
    return (-1 if first is None else int(first)), (int(total) if total and total != "*" else None)


def _version(answer: requests.Response) -> str:
    """What names this version of the file for If-Range: a strong ETag, else the date; empty where there is neither."""
    tag = answer.headers.get("ETag", "")
    name = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
    return name.strip() if name.isascii() else ""


def _refuse_full_disk(partial: Path, needed: int, replaced: int) -> None:
    """Raise UserError if the disk cannot hold that many more bytes, once a partial file of `replaced` bytes is overwritten."""
    free = shutil.disk_usage(partial.parent).free + replaced
    if needed > free:
        raise UserError(
            f"{partial.parent}: {needed / 1e9:.1f} GB needed for {partial.stem}, {free / 1e9:.1f} GB free: "
            "free some disk, then run this again"
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
