"""`pipeline cache info|verify`: what a store holds, and whether all of it is what was written."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cache.reader as reader
from cache.crops import CropLayout
from cache.layout import Layout
from cache.place import Where, place_of
from cache.targets import TargetLayout
from pipeline.errors import UserError
from stages.pointers import store_named
from stages.progress import progress

AGAIN: dict[type[Layout], str] = {TargetLayout: "pipeline teach --teacher NAME", CropLayout: "pipeline crops"}
"""Kinds of stores, and the command that makes each."""


def info(name: Path | str, say: Callable[[str], None] = print) -> None:
    """Print sizes, state and fingerprint of a store, named by its path or address."""
    path, again, layout, fingerprint = _named(name)
    size = sum(place_of(path).sizes().values())
    say(f"{path}: {layout.description}")
    say(f"  {layout.boundaries} boundaries of {layout.boundary} people, {size / 1e6:.2f} MB")
    finished = "finished; are its bytes right? `pipeline cache verify`"
    say(f"  {finished if reader.is_complete(path) else f'not finished: run `{again}`'}")
    for key, value in fingerprint.items():
        say(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")


def verify(name: Path | str, say: Callable[[str], None] = print) -> None:
    """Print one line per problem of a store, named by its path or address; UserError if there is any."""
    path, again, layout, _ = _named(name)
    with progress(len(layout.files), f"verifying {path}", "files") as bar:
        found = reader.verify(path, functools.partial(bar.update, 1))
    for problem in found:
        say(f"{path}: {problem}")
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise UserError(f"{path}: {count}: run `{again}`, which rebuilds what is damaged and nothing else")
    say(f"{path}: every file is what was written")


def _named(name: Path | str) -> tuple[Where, str, Layout, dict[str, Any]]:
    """A store's place, the command that makes it, its layout and fingerprint."""
    path = store_named(name, AGAIN[TargetLayout])
    kind = reader.kind_of(path, list(AGAIN))
    return path, AGAIN[kind], *reader.read_layout(path, kind, AGAIN[kind])
