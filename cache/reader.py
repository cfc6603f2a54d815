"""Opening a complete store of any kind. Refuses one that is unfinished, of other people, or not ours."""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import zarr

from cache.layout import Layout
from cache.manifest import NAME, Problem, problems, read_manifest
from cache.place import Where, place_of
from pipeline.errors import UserError, one_line

L = TypeVar("L", bound=Layout)

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError)
"""What Zarr and its codecs raise on damaged bytes and metadata."""


@dataclass(frozen=True, eq=False)
class Store(Generic[L]):
    """An open, complete store."""

    path: Where
    layout: L
    fingerprint: dict[str, Any]
    digest: str
    """Of its manifest, so of every byte that was written."""
    group: zarr.Group

    def values(self, name: str, selection: slice | tuple[slice, ...] = slice(None)) -> np.ndarray:
        """Part of an array, as a run of rows; UserError where its bytes are damaged."""
        with self.reading(selection[0] if isinstance(selection, tuple) else selection):
            return np.asarray(self.array(name)[selection])

    @contextlib.contextmanager
    def reading(self, rows: slice) -> Iterator[None]:
        """Damage that comes to light inside is a UserError that names the rows."""
        try:
            yield
        except UNREADABLE as error:
            where = "people" if rows.start is None else f"people {rows.start}-{rows.stop}"
            raise UserError(
                f"{self.path}: {where} cannot be read ({one_line(error)}): run `pipeline cache verify {self.path}`"
            ) from error

    @functools.cached_property
    def array(self) -> Callable[[str], zarr.Array]:
        """An array by name; its metadata is read once."""
        return functools.cache(self._open_array)

    def _open_array(self, name: str) -> zarr.Array:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array


def open_store(path: Where, kind: type[L], again: str, person: np.ndarray | None = None) -> Store[L]:
    """Open a complete store; `again` is the command that makes it, `person` the ids its rows must be (int64 (N,))."""
    place = place_of(path)
    if not place.exists():
        raise UserError(f"{path}: no such {kind.KIND}: run `{again}`")
    manifest = read_manifest(place)
    if manifest is None:
        state = "its manifest is damaged" if place.has(NAME) else "it is not finished"
        raise UserError(f"{path}: {state}: run `{again}`")
    layout, fingerprint = read_layout(path, kind, again)
    if manifest["fingerprint"] != fingerprint:
        raise UserError(f"{path}: its manifest belongs to another run: run `{again}`")
    sizes = place.sizes()
    for file in manifest["files"]:
        # Zarr reads a missing or empty file as zeros, without an error.
        if not sizes.get(file):
            raise UserError(f"{path}: {file} is missing or empty: run `{again}`")
    described = [file for file in manifest["files"] if file.endswith("zarr.json")]
    for file, digest in zip(described, place.digests(described), strict=True):
        if digest != manifest["files"][file]:
            raise UserError(f"{path}: {file} is damaged: run `{again}`")
    try:
        group = place.group()
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}): run `pipeline cache verify {path}`") from error
    store = Store(path, layout, fingerprint, manifest["digest"], group)
    if not store.values("done").all():
        raise UserError(f"{path}: not every boundary is done: run `{again}`")
    if person is not None and not np.array_equal(store.values("person"), person):
        raise UserError(f"{path}: its rows are other people than the people table's: run `{again}`")
    return store


def read_layout(path: Where, kind: type[L], again: str) -> tuple[L, dict[str, Any]]:
    """Layout and fingerprint of a store, finished or not; UserError where it is not one of that kind."""
    try:
        fingerprint = json.loads(place_of(path).read("zarr.json"))["attributes"]["fingerprint"]
        found = (fingerprint["format"], fingerprint["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a readable {kind.KIND} ({type(error).__name__}): run `{again}`") from error
    if found != (kind.FORMAT, kind.VERSION):
        raise UserError(
            f"{path}: expected {kind.FORMAT} of version {kind.VERSION}, found {found[0]} of version {found[1]}: run `{again}`"
        )
    try:
        return kind(**fingerprint["layout"]), fingerprint
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a readable {kind.KIND} ({type(error).__name__}): run `{again}`") from error


def kind_of(path: Where, kinds: Sequence[type[Layout]]) -> type[Layout]:
    """Which of those kinds a store says it is; the first where it says nothing that can be read."""
    try:
        found = json.loads(place_of(path).read("zarr.json"))["attributes"]["fingerprint"]["format"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    return next((kind for kind in kinds if found == kind.FORMAT), kinds[0])


def is_complete(path: Where) -> bool:
    """Does the store have a manifest, the last thing that is written?"""
    return read_manifest(path) is not None


def verify(path: Where, advance: Callable[[], object] = int) -> list[Problem]:
    """Every file of a store against its manifest, `advance` called after each; an unfinished store is one problem."""
    place = place_of(path)
    manifest = read_manifest(place)
    if manifest is None:
        return [Problem(NAME, "damaged" if place.has(NAME) else "missing: the store is not finished")]
    return problems(place, manifest["files"], advance)
