"""Progress of long work: a bar on a terminal, a line every minute in a log file, nothing for work of less than that."""

import sys

from tqdm import tqdm

LINE_SECONDS = 60.0
"""Seconds between two lines in a log file."""


def progress(total: int, what: str, unit: str) -> tqdm:
    """Return a progress bar with rate and remaining time, for `with`; its `update(n)` advances it."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=what, unit=unit, delay=1)
    line = "{desc}: {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}\n"
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        bar_format=line,
        mininterval=LINE_SECONDS,
        maxinterval=LINE_SECONDS,
        delay=LINE_SECONDS,
        leave=False,
    )
