"""Reading a complete target store. Refuses one that is unfinished, of other people, or not ours."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from cache.layout import FORMAT, TARGETS_VERSION, Layout
from cache.manifest import NAME, Problem, problems, read_manifest
from pipeline.errors import UserError, one_line
from pipeline.targets.block import TargetBlock

BOUNDARIES_IN_MEMORY = 1024

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError)
"""What Zarr and its codecs raise on damaged bytes and metadata."""


@dataclass(frozen=True, eq=False)
class TargetStore:
    """An open, complete store."""

    path: Path
    layout: Layout
    fingerprint: dict[str, Any]
    group: zarr.Group

    def read(self, rows: slice, view: int | None = None) -> TargetBlock:
        """Targets of a run of people: of one view (V = 1 in the block) or of all; fastest along chunk borders."""
        views = slice(None) if view is None else slice(view, view + 1)
        try:
            levels = {name: _values(self.group, name, (rows, views)) for name in self.layout.targets}
            person, *small = self._light(rows)
            return TargetBlock(person, levels, *(values[:, views] for values in small))
        except UNREADABLE as error:
            where = f"people {rows.start}-{rows.stop}"
            raise UserError(
                f"{self.path}: {where} cannot be read ({one_line(error)}): run `pipeline cache verify {self.path}`"
            ) from error

    def _light(self, rows: slice) -> list[np.ndarray]:
        """The arrays beside the levels; a boundary that was read lately is still in memory."""
        boundaries = range(rows.start // self.layout.boundary, (rows.stop - 1) // self.layout.boundary + 1)
        parts = [self._boundary(boundary) for boundary in boundaries]
        first = self.layout.rows(boundaries[0]).start
        inside = slice(rows.start - first, rows.stop - first)
        return [
            np.concatenate(values)[inside] if len(values) > 1 else values[0][inside]
            for values in zip(*parts, strict=True)
        ]

    @functools.cached_property
    def _boundary(self) -> Callable[[int], tuple[np.ndarray, ...]]:
        return functools.lru_cache(maxsize=BOUNDARIES_IN_MEMORY)(self._read_boundary)

    def _read_boundary(self, boundary: int) -> tuple[np.ndarray, ...]:
        rows = self.layout.rows(boundary)
        return tuple(_values(self.group, name, rows) for name in ("person", "peak", "score", "image_from_target"))


def _values(group: zarr.Group, name: str, selection: slice | tuple[slice, slice]) -> np.ndarray:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[selection])


def open_targets(path: Path, again: str, person: np.ndarray | None = None) -> TargetStore:
    """Open a complete store; `again` is the command that makes it, `person` the ids its rows must be (int64 (N,))."""
    if not path.is_dir():
        raise UserError(f"{path}: no such target store: run `{again}`")
    manifest = read_manifest(path)
    if manifest is None:
        state = "its manifest is damaged" if (path / NAME).exists() else "it is not finished"
        raise UserError(f"{path}: {state}: run `{again}`")
    layout, fingerprint = read_layout(path, again)
    if manifest["fingerprint"] != fingerprint:
        raise UserError(f"{path}: its manifest belongs to another run: run `{again}`")
    for file in manifest["files"]:
        # Zarr reads a missing or empty file as zeros, without an error.
        if not (path / file).is_file() or not (path / file).stat().st_size:
            raise UserError(f"{path}: {file} is missing or empty: run `{again}`")
    try:
        store = TargetStore(path, layout, fingerprint, zarr.open_group(path, mode="r"))
        done, rows = (_values(store.group, name, slice(None)) for name in ("done", "person"))
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}): run `pipeline cache verify {path}`") from error
    if not done.all():
        raise UserError(f"{path}: not every boundary is done: run `{again}`")
    if person is not None and not np.array_equal(rows, person):
        raise UserError(f"{path}: its rows are other people than the people table's: run `{again}`")
    return store


def read_layout(path: Path, again: str) -> tuple[Layout, dict[str, Any]]:
    """Layout and fingerprint of a store, finished or not; UserError where it is not one of ours."""
    try:
        fingerprint = json.loads((path / "zarr.json").read_bytes())["attributes"]["fingerprint"]
        layout, found = Layout(**fingerprint["layout"]), (fingerprint["format"], fingerprint["targets_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a readable target store ({type(error).__name__}): run `{again}`") from error
    if found != (FORMAT, TARGETS_VERSION):
        raise UserError(
            f"{path}: expected {FORMAT} of version {TARGETS_VERSION}, found {found[0]} of version {found[1]}: run `{again}`"
        )
    return layout, fingerprint


def is_complete(path: Path) -> bool:
    """Does the store have a manifest, the last thing that is written?"""
    return read_manifest(path) is not None


def verify(path: Path, advance: Callable[[], object] = int) -> list[Problem]:
    """Every file of a store against its manifest, `advance` called after each; an unfinished store is one problem."""
    manifest = read_manifest(path)
    if manifest is None:
        return [Problem(NAME, "damaged" if (path / NAME).exists() else "missing: the store is not finished")]
    return problems(path, manifest["files"], advance)
