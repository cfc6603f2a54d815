"""Refuses stores that were made from other inputs than there are now, and stores with damaged files."""

import functools
from collections.abc import Mapping
from typing import Any

from cache.reader import Store, verify_store
from pipeline.common.errors import UserError
from pipeline.common.progress import progress

MESSAGE_NAMES = {"pictures": "images"}
"""Keys of stored fingerprints that messages name differently."""


def refuse_other_inputs(store: Store[Any], inputs: Mapping[str, Any], rebuild_command: str) -> None:
    """Raise UserError if a value of `inputs` differs from the store's fingerprint; it names the keys that do."""
    changed = [MESSAGE_NAMES.get(key, key) for key, value in inputs.items() if store.fingerprint.get(key) != value]
    if changed:
        raise UserError(
            f"{store.path}: was made from other {' and '.join(changed)} than there are now: run `{rebuild_command}`"
        )


def refuse_damage(store: Store[Any], rebuild_command: str) -> None:
    """Compare every file of an open store with its manifest, with a progress bar; UserError for the first damaged one."""
    with progress(len(store.layout.files), f"verifying {store.path}", "files") as bar:
        problems = verify_store(store.path, functools.partial(bar.update, 1))
    if problems:
        more = " and more" if len(problems) > 1 else ""
        raise UserError(f"{store.path}: {problems[0]}{more}: run `{rebuild_command}`, which rebuilds what is damaged")
