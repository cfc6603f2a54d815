"""`pipeline cache info|verify`: what a target store holds, and whether all of it is what was written."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import cache.reader as reader
from cache.targets import TargetLayout
from pipeline.errors import UserError
from stages.progress import progress

AGAIN = "pipeline teach --teacher NAME"


def info(path: Path, say: Callable[[str], None] = print) -> None:
    """Print sizes, state and fingerprint."""
    layout, fingerprint = reader.read_layout(path, TargetLayout, AGAIN)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    what = f"{layout.width} + {layout.height} bins" if layout.separate else f"{layout.height} x {layout.width} maps"
    say(f"{path}: {layout.people} people x {layout.views} views x {layout.keypoints} keypoints, {what}")
    say(f"  {layout.boundaries} boundaries of {layout.boundary} people, {size / 1e6:.2f} MB")
    finished = "finished; are its bytes right? `pipeline cache verify`"
    say(f"  {finished if reader.is_complete(path) else f'not finished: run `{AGAIN}`'}")
    for key, value in fingerprint.items():
        say(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")


def verify(path: Path, say: Callable[[str], None] = print) -> None:
    """Print one line per problem; UserError if there is any."""
    layout, _ = reader.read_layout(path, TargetLayout, AGAIN)
    with progress(len(layout.files), f"verifying {path}", "files") as bar:
        found = reader.verify(path, functools.partial(bar.update, 1))
    for problem in found:
        say(f"{path}: {problem}")
    if found:
        raise UserError(
            f"{path}: {len(found)} problems: run `{AGAIN}`, which rebuilds what is damaged and nothing else"
        )
    say(f"{path}: every file is what was written")
