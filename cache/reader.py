"""Opens complete stores of any kind. A store that is unfinished, of other people or of another format is refused."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import zarr

from cache.backend import StoreLocation, backend_of
from cache.layout import Layout
from cache.manifest import MANIFEST_NAME, Problem, find_problems, read_fingerprint, read_store_manifest
from pipeline.common.errors import UserError, one_line

L = TypeVar("L", bound=Layout)

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError)
"""What Zarr and its codecs raise on damaged bytes and metadata."""


@dataclass(frozen=True, eq=False)
class Store(Generic[L]):
    """An open, complete store."""

    path: StoreLocation
    layout: L
    fingerprint: dict[str, Any]
    digest: str
    """Digest of the manifest, and by its content of every byte of the store."""
    group: zarr.Group

    def values(self, name: str, selection: slice | tuple[slice, ...] = slice(None)) -> np.ndarray:
        """Return part of an array, for consecutive rows; UserError if its bytes are damaged."""
        with self.reading(selection[0] if isinstance(selection, tuple) else selection):
            return np.asarray(self.array(name)[selection])

    @contextlib.contextmanager
    def reading(self, rows: slice) -> Iterator[None]:
        """Turn errors of damaged bytes, raised inside the context, into a UserError that names the rows."""
        try:
            yield
        except UNREADABLE as error:
            people = "people" if rows.start is None else f"people {rows.start}-{rows.stop}"
            raise UserError(
                f"{self.path}: {people} cannot be read ({one_line(error)}): run `pipeline cache verify {self.path}`"
            ) from error

    @functools.cached_property
    def array(self) -> Callable[[str], zarr.Array]:
        """A function that returns an array by name and reads its metadata only once."""
        return functools.cache(self._open_array)

    def _open_array(self, name: str) -> zarr.Array:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array


def open_store(path: StoreLocation, kind: type[L], rebuild_command: str, person: np.ndarray | None = None) -> Store[L]:
    """Open a complete store; UserError, which ends with `rebuild_command`, if it is not complete or not of this `kind`.

    `person`: the ids, int64 (N,), that its rows must have.
    """
    backend = backend_of(path)
    if not backend.exists():
        raise UserError(f"{path}: no such {kind.KIND}: run `{rebuild_command}`")
    manifest = read_store_manifest(backend)
    if manifest is None:
        state = "its manifest is damaged" if backend.has(MANIFEST_NAME) else "it is not finished"
        raise UserError(f"{path}: {state}: run `{rebuild_command}`")
    layout, fingerprint = read_layout(path, kind, rebuild_command)
    if manifest["fingerprint"] != fingerprint:
        raise UserError(f"{path}: its manifest belongs to another run: run `{rebuild_command}`")
    sizes = backend.sizes()
    for file in manifest["files"]:
        # Zarr reads a missing or empty file as zeros, without an error.
        if not sizes.get(file):
            raise UserError(f"{path}: {file} is missing or empty: run `{rebuild_command}`")
    documents = [file for file in manifest["files"] if file.endswith("zarr.json")]
    for file, digest in zip(documents, backend.digests(documents), strict=True):
        if digest != manifest["files"][file]:
            raise UserError(f"{path}: {file} is damaged: run `{rebuild_command}`")
    try:
        group = backend.group()
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}): run `pipeline cache verify {path}`") from error
    store = Store(path, layout, fingerprint, manifest["digest"], group)
    if not store.values("done").all():
        raise UserError(f"{path}: not every shard is done: run `{rebuild_command}`")
    if person is not None and not np.array_equal(store.values("person"), person):
        raise UserError(f"{path}: its rows are other people than the people table's: run `{rebuild_command}`")
    return store


def read_layout(path: StoreLocation, kind: type[L], rebuild_command: str) -> tuple[L, dict[str, Any]]:
    """Return layout and fingerprint of a store, finished or not; UserError if it is not of that kind."""
    unreadable = f"{path}: not a readable {kind.KIND}"
    try:
        fingerprint = read_fingerprint(path)
        form = (fingerprint["format"], fingerprint["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{unreadable} ({type(error).__name__}): run `{rebuild_command}`") from error
    if form != (kind.FORMAT, kind.VERSION):
        raise UserError(
            f"{path}: expected {kind.FORMAT} of version {kind.VERSION}, found {form[0]} of version {form[1]}: "
            f"run `{rebuild_command}`"
        )
    try:
        return kind.from_fingerprint(fingerprint), fingerprint
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{unreadable} ({type(error).__name__}): run `{rebuild_command}`") from error


def store_kind(path: StoreLocation, kinds: Sequence[type[Layout]]) -> type[Layout]:
    """Return the kind that a store's metadata names, or the first of `kinds` if the metadata cannot be read."""
    try:
        form = read_fingerprint(path)["format"]
    except (OSError, ValueError, KeyError, TypeError):
        form = None
    return next((kind for kind in kinds if form == kind.FORMAT), kinds[0])


def has_manifest(path: StoreLocation) -> bool:
    """Return whether a store has an undamaged manifest, which is written last."""
    return read_store_manifest(path) is not None


def verify_store(path: StoreLocation, advance: Callable[[], object] = int) -> list[Problem]:
    """Compare every file of a store with its manifest; an unfinished store is one problem. `advance` is called after each file."""
    backend = backend_of(path)
    manifest = read_store_manifest(backend)
    if manifest is None:
        what = "damaged" if backend.has(MANIFEST_NAME) else "missing: the store is not finished"
        return [Problem(MANIFEST_NAME, what)]
    return find_problems(backend, manifest["files"], advance)
