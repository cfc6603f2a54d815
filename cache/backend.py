"""The files of a store: the few operations that a folder on disk and remote object storage (`cache.remote`) have in common."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zarr

from pipeline.common.files import sha256, write_atomically


class StoreBackend(ABC):
    """The files of one store, by names relative to it. A reader sees a file before or after a write, never half of it."""

    @abstractmethod
    def exists(self) -> bool:
        """Return whether the store has any file."""

    @abstractmethod
    def has(self, file: str) -> bool:
        """Return whether the file exists."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, from one listing."""

    @abstractmethod
    def read(self, file: str) -> bytes:
        """Return the content of a file; FileNotFoundError if it is absent."""

    @abstractmethod
    def digests(self, files: Iterable[str]) -> Iterator[str]:
        """Yield the sha256 of each file, in order."""

    @abstractmethod
    def write(self, file: str, data: bytes) -> None:
        """Replace a file. The data is durable when this returns."""

    @abstractmethod
    def delete(self, file: str) -> None:
        """Delete a file, if it exists."""

    @abstractmethod
    def clear(self) -> None:
        """Delete all files."""

    @abstractmethod
    def group(self) -> zarr.Group:
        """Open the arrays of the store for reading."""


StoreLocation = Path | StoreBackend
"""Where a store is: the path of a folder on disk, or a backend."""


@dataclass(frozen=True)
class Folder(StoreBackend):
    """A store on disk."""

    path: Path

    def exists(self) -> bool:
        return self.path.is_dir()

    def has(self, file: str) -> bool:
        return (self.path / file).is_file()

    def sizes(self) -> dict[str, int]:
        return dict(_sizes(self.path, "")) if self.path.is_dir() else {}

    def read(self, file: str) -> bytes:
        return (self.path / file).read_bytes()

    def digests(self, files: Iterable[str]) -> Iterator[str]:
        return (sha256(self.path / file) for file in files)

    def write(self, file: str, data: bytes) -> None:
        write_atomically(self.path / file, data)

    def delete(self, file: str) -> None:
        (self.path / file).unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.path.resolve())
        if self.path.is_symlink():
            self.path.resolve().mkdir()

    def group(self) -> zarr.Group:
        return zarr.open_group(self.path, mode="r")


def backend_of(location: StoreLocation) -> StoreBackend:
    """Return the backend of a location."""
    return Folder(location) if isinstance(location, Path) else location


def _sizes(folder: Path | str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sizes(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
