"""Stores on remote object storage, by addresses like s3://bucket/prefix. Only this module imports `obstore`, at the first use.

Endpoint and credentials come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...). An object is written completely or not
at all, and is durable once it is written. The library retries transient errors.
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

from cache.backend import StoreBackend
from pipeline.common.errors import UserError, one_line

CONCURRENT_HASHES = 16
"""Objects that are hashed at the same time."""
CONCURRENT_REQUESTS = 64
"""Zarr's requests at the same time. Its default of 10 is enough for disks and too few for slow answers."""
REQUEST_TIMEOUT = datetime.timedelta(minutes=2)
"""Time for one request: a shard of many people over a slow line takes a while."""
RETRIES: Any = None
"""Retries of a failed request. None: the library's default, up to 10 in 3 minutes."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Remote(StoreBackend):
    """A store on remote object storage, or a prefix that several stores have in common."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        return Remote(self.address.rpartition("/")[0])

    def child(self, name: str) -> "Remote":
        """Return the address of `name` under this one."""
        return Remote(f"{self.address}/{name}")

    def folders(self) -> list[str]:
        """Return the names of the non-empty folders directly under the address."""
        with _as_user_errors(self.address):
            return sorted(map(str, _obstore().list_with_delimiter(_client(self.address))["common_prefixes"]))

    def exists(self) -> bool:
        with _as_user_errors(self.address):
            return any(_obstore().list(_client(self.address), chunk_size=1))

    def has(self, file: str) -> bool:
        with _as_user_errors(self.address):
            try:
                _obstore().head(_client(self.address), file)
            except FileNotFoundError:
                return False
            return True

    def sizes(self) -> dict[str, int]:
        with _as_user_errors(self.address):
            pages = _obstore().list(_client(self.address), chunk_size=1000)
            return {entry["path"]: entry["size"] for page in pages for entry in page}

    def read(self, file: str) -> bytes:
        with _as_user_errors(self.address):
            return bytes(_obstore().get(_client(self.address), file).bytes())

    def digests(self, files: Iterable[str]) -> Iterator[str]:
        pool = ThreadPoolExecutor(CONCURRENT_HASHES)
        try:
            yield from pool.map(self._digest, files)
        finally:
            pool.shutdown(cancel_futures=True)

    def _digest(self, file: str) -> str:
        try:
            return hashlib.sha256(self.read(file)).hexdigest()
        except FileNotFoundError:
            raise UserError(
                f"{self}: {file} has disappeared: does another machine write there? Let it finish, then run this again"
            ) from None

    def write(self, file: str, data: bytes) -> None:
        with _as_user_errors(self.address, absent=True):
            _obstore().put(_client(self.address), file, data, use_multipart=False)

    def delete(self, file: str) -> None:
        with _as_user_errors(self.address), contextlib.suppress(FileNotFoundError):
            _obstore().delete(_client(self.address), file)

    def clear(self) -> None:
        files = list(self.sizes())
        with _as_user_errors(self.address):
            _obstore().delete(_client(self.address), files)

    def group(self) -> zarr.Group:
        zarr.config.set({"async.concurrency": CONCURRENT_REQUESTS})
        with _as_user_errors(self.address):
            return zarr.open_group(_ZarrStore(self.address), mode="r", zarr_format=3)


class _ZarrStore(ObjectStore):
    """The store that Zarr reads. The library's errors become UserErrors; absent objects stay absent."""

    def __init__(self, address: str) -> None:
        super().__init__(_client(address), read_only=True)
        self.address = address

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with _as_user_errors(self.address):
            return await super().get(key, prototype, byte_range)


@functools.cache
def _client(address: str) -> Any:
    """Return the library's store, which keeps its connections."""
    from obstore.store import from_url

    plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    options: Any = {"timeout": REQUEST_TIMEOUT} | ({"allow_http": True} if plain else {})
    return from_url(address, client_options=options, retry_config=RETRIES)


def _obstore() -> ModuleType:
    try:
        import obstore
    except ImportError as error:
        raise UserError(
            f"remote targets: {one_line(error)}: install what they need with `pip install 'pose-fusion[remote]'`"
        ) from error
    return obstore


@contextlib.contextmanager
def _as_user_errors(address: str, absent: bool = False) -> Iterator[None]:
    """Turn the library's errors into UserErrors; with `absent`, also FileNotFoundError, which then means that the bucket is absent."""
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
    reason = one_line(Exception(str(error).partition("\n\n")[0]))  # the library's own source follows
    return UserError(
        f"{address}: cannot be used ({reason}): are the bucket, the endpoint and the credentials in the environment right "
        "(AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...)? Then run this again"
    )
