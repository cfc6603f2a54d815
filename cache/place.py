"""Where a store lies, with the few operations on its files that a folder and remote object storage (cache.remote) have in common."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zarr

from pipeline.files import sha256, write_atomically


class Place(ABC):
    """A store's files, by names relative to it. A file that is written is the old one or the new one, never half."""

    @abstractmethod
    def exists(self) -> bool:
        """Is anything there?"""

    @abstractmethod
    def has(self, file: str) -> bool:
        """Is that file there?"""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of every file there is, from one listing."""

    @abstractmethod
    def read(self, file: str) -> bytes:
        """FileNotFoundError where it is absent."""

    @abstractmethod
    def digests(self, files: Iterable[str]) -> Iterator[str]:
        """sha256 of each, in order."""

    @abstractmethod
    def write(self, file: str, data: bytes) -> None:
        """Replace it; it lasts once this returns."""

    @abstractmethod
    def delete(self, file: str) -> None:
        """Nothing happens where it is absent."""

    @abstractmethod
    def clear(self) -> None:
        """Delete everything."""

    @abstractmethod
    def group(self) -> zarr.Group:
        """The store's arrays, to be read."""


Where = Path | Place
"""A folder on disk is named by its path."""


@dataclass(frozen=True)
class Folder(Place):
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
        shutil.rmtree(self.path)

    def group(self) -> zarr.Group:
        return zarr.open_group(self.path, mode="r")


def place_of(where: Where) -> Place:
    """What has the operations."""
    return Folder(where) if isinstance(where, Path) else where


def _sizes(folder: Path | str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sizes(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
