"""Progress of long work: a bar on a terminal, a line a minute in a log file, nothing for work that ends at once."""

import sys

from tqdm import tqdm

MINUTE = 60.0


def progress(total: int, what: str, unit: str) -> tqdm:
    """A bar with rate and time left, for `with`; call its `update(n)`."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=what, unit=unit, delay=1)
    line = "{desc}: {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}\n"
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        bar_format=line,
        mininterval=MINUTE,
        maxinterval=MINUTE,
        delay=MINUTE,
        leave=False,
    )
