"""Where a training goes on after an interruption: its checkpoint, written whole or not at all, and signals heard between steps."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.files import flush

CHECKPOINTS = Path("data/checkpoints")


def write(state: dict[str, Any], path: Path) -> None:
    """Tensors, numbers and texts as a file that is read without unpickling anything; where that fails, the file before it stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    try:
        with aside.open("wb") as stream:
            torch.save(state, stream)
        flush(aside)
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        hidden = error.__context__  # a full disk, of which torch says "unexpected pos"
        if isinstance(error, RuntimeError) and isinstance(hidden, OSError):
            raise OSError(hidden.errno, hidden.strerror, str(path)) from error
        raise


def read(
    path: Path, fingerprint: str, unchangeable: dict[str, Any], resume: bool, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """The state to go on from, None to start anew, which is said; `resume` takes one of another fingerprint too.

    UserError where `unchangeable`, the names and values that even that cannot change, is another.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        same, of = state["fingerprint"] == fingerprint, state["unchangeable"]
    except FileNotFoundError:  # another process of this training has just put it aside
        return None
    except Exception as error:
        aside = path.with_suffix(".unreadable")
        os.replace(path, aside)
        say(f"{path} is not readable ({type(error).__name__}): kept as {aside}, training starts anew")
        return None
    if not same and not resume:
        say(f"{path} is of other settings, inputs or code: training starts anew (`--resume` goes on from it)")
        return None
    if of != unchangeable:
        raise UserError(
            f"{path}: --resume cannot change network and steps: expected {of}, found {unchangeable} in params.yaml: "
            "set them back, or leave --resume out to start anew"
        )
    return state


@contextmanager
def signals() -> Iterator[list[int]]:
    """Ctrl-C and what schedulers send, as numbers to look at between steps: a step that is half taken cannot be saved."""
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda n, frame: heard.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping(heard: list[int]) -> BaseException:
    """What to raise once everything is saved: exit code 130 for Ctrl-C, 143 for a scheduler, as shells count."""
    return KeyboardInterrupt() if signal.SIGINT in heard else SystemExit(128 + signal.SIGTERM)
