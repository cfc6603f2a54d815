"""The checkpoint that an interrupted training resumes from, written completely or not at all, and the signals that interrupt it."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.common.errors import UserError
from pipeline.common.files import flush

CHECKPOINTS = Path("data/checkpoints")


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write tensors, numbers and texts to a file that can be read without unpickling objects.

    Where that fails, the earlier checkpoint stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    try:
        with aside.open("wb") as stream:
            torch.save(state, stream)
        flush(aside)
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        cause = error.__context__  # torch reports a full disk as "unexpected pos"
        if isinstance(error, RuntimeError) and isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise


def _changed(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the names of what differs, with both values."""
    names = [name for name in dict.fromkeys((*saved, *now)) if saved.get(name) != now.get(name)]
    return ", ".join(f"{name}: expected {saved.get(name)}, found {now.get(name)}" for name in names)


def read_checkpoint(
    path: Path, fingerprint: str, unchangeable: dict[str, Any], resume: bool, log: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return the state to resume from, or None to start from the beginning; a message tells why a checkpoint is not used.

    `resume` uses a checkpoint of another fingerprint as well. UserError where the checkpoint differs in `unchangeable`, the names
    and values that even then have to be the same.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        same, saved = state["fingerprint"] == fingerprint, state["unchangeable"]
    except FileNotFoundError:  # another process of this training has just moved it
        return None
    except Exception as error:
        aside = path.with_suffix(".unreadable")
        os.replace(path, aside)
        log(f"{path} is not readable ({type(error).__name__}): kept as {aside}, training starts from the beginning")
        return None
    if not same and not resume:
        log(
            f"{path} is of other settings, inputs or code: training starts from the beginning "
            "(`--resume` uses the checkpoint all the same)"
        )
        return None
    if saved != unchangeable:
        raise UserError(
            f"{path}: --resume cannot change {_changed(saved, unchangeable)} in params.yaml: "
            "set them back, or leave --resume out to start from the beginning"
        )
    return state


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT (Ctrl-C) and SIGTERM as numbers that the training checks between steps; an unfinished step cannot be saved."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda n, frame: received.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_exception(received: list[int]) -> BaseException:
    """Return the exception to raise once everything is saved: it gives exit code 130 for SIGINT and 143 for SIGTERM, as shells do."""
    return KeyboardInterrupt() if signal.SIGINT in received else SystemExit(128 + signal.SIGTERM)
