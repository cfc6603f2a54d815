"""Reading a complete target store. Refuses one that is unfinished, of other people, or not ours."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from cache.layout import FORMAT, TARGETS_VERSION, Layout
from cache.manifest import NAME, Problem, problems, read_manifest
from pipeline.errors import UserError
from pipeline.targets.block import TargetBlock


@dataclass(frozen=True)
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
            return TargetBlock(
                person=self._values("person", rows),
                levels=self._values("heatmaps", (rows, views)),
                peak=self._values("peak", (rows, views)),
                score=self._values("score", (rows, views)),
                image_from_target=self._values("image_from_target", (rows, views)),
            )
        except (OSError, ValueError, RuntimeError) as error:
            where = f"people {rows.start}-{rows.stop}"
            raise UserError(f"{self.path}: {where} cannot be read ({error}): run `pipeline cache verify {self.path}`") from error

    def _values(self, name: str, selection: slice | tuple[slice, slice]) -> np.ndarray:
        array = self.group[name]
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
    store = TargetStore(path, layout, fingerprint, zarr.open_group(path, mode="r"))
    if not np.all(store._values("done", slice(None))):
        raise UserError(f"{path}: not every boundary is done: run `{again}`")
    if person is not None and not np.array_equal(store._values("person", slice(None)), person):
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
        raise UserError(f"{path}: expected {FORMAT} of version {TARGETS_VERSION}, found {found[0]} of version {found[1]}: run `{again}`")
    return layout, fingerprint


def is_complete(path: Path) -> bool:
    """Does the store have a manifest, the last thing that is written?"""
    return read_manifest(path) is not None


def verify(path: Path) -> list[Problem]:
    """Every file of a store against its manifest; an unfinished store is one problem."""
    manifest = read_manifest(path)
    if manifest is None:
        return [Problem(NAME, "damaged" if (path / NAME).exists() else "missing: the store is not finished")]
    return problems(path, manifest["files"])
