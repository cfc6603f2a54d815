"""Progress of long work: a bar on a terminal, a line every minute in a log file, nothing for work of less than that."""

import sys

from tqdm import tqdm

LINE_SECONDS = 60.0
"""Seconds between two lines in a log file."""


def progress(total: int, what: str, unit: str, done: int = 0) -> tqdm:
    """Return a progress bar with rate and remaining time, for `with`; its `update(n)` advances it.

    `done` of the total was done before, by an interrupted run: it counts for no rate.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, initial=done, desc=what, unit=unit, delay=1)
    line = "{desc}: {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}\n"
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        bar_format=line,
        mininterval=LINE_SECONDS,
        maxinterval=LINE_SECONDS,
        delay=LINE_SECONDS,
        leave=False,
    )
