"""`pipeline cache info|verify`: prints what a store holds, and compares its files with what was written."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cache.backend import StoreLocation, backend_of
from cache.crops import CropLayout
from cache.layout import Layout
from cache.reader import has_manifest, read_layout, store_kind, verify_store
from cache.targets import TargetLayout
from pipeline.common.errors import UserError
from pipeline.common.progress import progress
from stages.stores.crop_views import CROPS_FOLDER
from stages.stores.pointers import store_named

REBUILD_COMMANDS: dict[type[Layout], str] = {
    TargetLayout: "pipeline teach --teacher NAME",
    CropLayout: "pipeline crops",
}
"""The command that makes each kind of store."""


def info(name: Path | str, log: Callable[[str], None] = print) -> None:
    """Print sizes, state and fingerprint of a store, given by its path or address."""
    path, rebuild_command, layout, fingerprint = _find(name)
    size = sum(backend_of(path).sizes().values())
    log(f"{path}: {layout.description}")
    log(f"  {layout.shards} shards of {layout.people_per_shard} people, {size / 1e6:.2f} MB")
    finished = "finished; are its bytes right? `pipeline cache verify`"
    log(f"  {finished if has_manifest(path) else f'not finished: run `{rebuild_command}`'}")
    for key, value in fingerprint.items():
        log(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")


def verify(name: Path | str, log: Callable[[str], None] = print) -> None:
    """Print one line per problem of a store, given by its path or address; UserError if there is any."""
    path, rebuild_command, layout, _ = _find(name)
    with progress(len(layout.files), f"verifying {path}", "files") as bar:
        problems = verify_store(path, functools.partial(bar.update, 1))
    for problem in problems:
        log(f"{path}: {problem}")
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"{path}: {count}: run `{rebuild_command}`, which rebuilds what is damaged and nothing else")
    log(f"{path}: every file is what was written")


def _find(name: Path | str) -> tuple[StoreLocation, str, Layout, dict[str, Any]]:
    """Return a store's location, the command that makes it, its layout and its fingerprint."""
    of_crops = "://" not in str(name) and Path(name).resolve().parent == CROPS_FOLDER.resolve()
    kinds = sorted(
        REBUILD_COMMANDS, key=lambda kind: (kind is CropLayout) != of_crops
    )  # the first where the store cannot tell
    path = store_named(name, REBUILD_COMMANDS[kinds[0]])
    kind = store_kind(path, kinds)
    return path, REBUILD_COMMANDS[kind], *read_layout(path, kind, REBUILD_COMMANDS[kind])
