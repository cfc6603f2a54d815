"""Stores on remote object storage, by addresses like s3://bucket/prefix. Only this module imports `obstore`, once one is used.

Endpoint and credentials come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...). An object is put whole or not at
all, and lasts once it is put; transient errors are tried again by the library.
"""

import contextlib
import datetime
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest
from zarr.storage import ObjectStore

from cache.place import Place
from pipeline.errors import UserError, one_line

AT_ONCE = 16
"""Objects that are hashed at the same time."""
REQUESTS_AT_ONCE = 64
"""Of Zarr, which takes 10 unless told: enough for disks, too few where each takes a while to come."""
PATIENCE = datetime.timedelta(minutes=2)
"""For one request, since a boundary of many people on a slow line takes a while."""
RETRIES: Any = None
"""None: the library's own, up to 10 in 3 minutes."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Remote(Place):
    """A store on remote object storage, or what several lie under."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        return Remote(self.address.rpartition("/")[0])

    def below(self, name: str) -> "Remote":
        """What has that name under this one."""
        return Remote(f"{self.address}/{name}")

    def folders(self) -> list[str]:
        """Names of what lies directly below and holds something."""
        with _told(self.address):
            return sorted(map(str, _obstore().list_with_delimiter(_client(self.address))["common_prefixes"]))

    def exists(self) -> bool:
        with _told(self.address):
            return any(_obstore().list(_client(self.address), chunk_size=1))

    def has(self, file: str) -> bool:
        with _told(self.address):
            try:
                _obstore().head(_client(self.address), file)
            except FileNotFoundError:
                return False
            return True

    def sizes(self) -> dict[str, int]:
        with _told(self.address):
            pages = _obstore().list(_client(self.address), chunk_size=1000)
            return {each["path"]: each["size"] for page in pages for each in page}

    def read(self, file: str) -> bytes:
        with _told(self.address):
            return bytes(_obstore().get(_client(self.address), file).bytes())

    def digests(self, files: Iterable[str]) -> Iterator[str]:
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            yield from pool.map(self._digest, files)
        finally:
            pool.shutdown(cancel_futures=True)

    def _digest(self, file: str) -> str:
        try:
            return hashlib.sha256(self.read(file)).hexdigest()
        except FileNotFoundError:
            raise UserError(
                f"{self}: {file} has gone meanwhile: does another machine write there? One at a time, then run this again"
            ) from None

    def write(self, file: str, data: bytes) -> None:
        with _told(self.address, absent=True):
            _obstore().put(_client(self.address), file, data, use_multipart=False)

    def delete(self, file: str) -> None:
        with _told(self.address), contextlib.suppress(FileNotFoundError):
            _obstore().delete(_client(self.address), file)

    def clear(self) -> None:
        files = list(self.sizes())
        with _told(self.address):
            _obstore().delete(_client(self.address), files)

    def group(self) -> zarr.Group:
        zarr.config.set({"async.concurrency": REQUESTS_AT_ONCE})
        with _told(self.address):
            return zarr.open_group(_Reported(self.address), mode="r", zarr_format=3)


class _Reported(ObjectStore):
    """What Zarr reads, with the library's errors as ours. Absent objects stay absent."""

    def __init__(self, address: str) -> None:
        super().__init__(_client(address), read_only=True)
        self.address = address

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with _told(self.address):
            return await super().get(key, prototype, byte_range)


@functools.cache
def _client(address: str) -> Any:
    """The library's store, which keeps its connections."""
    from obstore.store import from_url

    plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    options: Any = {"timeout": PATIENCE} | ({"allow_http": True} if plain else {})
    return from_url(address, client_options=options, retry_config=RETRIES)


def _obstore() -> ModuleType:
    try:
        import obstore
    except ImportError as error:
        raise UserError(
            f"remote targets: {one_line(error)}: install what they take with `pip install 'pose-fusion[remote]'`"
        ) from error
    return obstore


@contextlib.contextmanager
def _told(address: str, absent: bool = False) -> Iterator[None]:
    """The library's errors as ours; that an object is absent too, where that means its bucket is."""
    _obstore()
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if not absent:
            raise
        raise _unusable(address, error) from error
    except BaseError as error:
        raise _unusable(address, error) from error


def _unusable(address: str, error: Exception) -> UserError:
    said = one_line(Exception(str(error).partition("\n\n")[0]))  # behind it comes the library's own source
    return UserError(
        f"{address}: cannot be used ({said}): are the bucket, the endpoint and the credentials in the environment right "
        "(AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...)? Then run this again"
    )
