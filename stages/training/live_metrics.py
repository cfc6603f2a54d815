"""The metrics of a running training: DVCLive's table per metric and its summary, for `dvc plots`, editors and `tail -f`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LIVE = Path("data/live")


@contextmanager
def live_metrics(name: str, before: Sequence[Mapping[str, float]]) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a function that logs a point with its `step` to data/live/<name>/plots/metrics/*.tsv and metrics.json.

    The points of `before` are logged first. Nothing is logged outside a DVC project, because DVCLive would create one, nor in a Git
    repository without a commit, because DVCLive needs one. No experiment is saved and no dvc.yaml is written. Nothing leaves the
    machine unless the user has given DVC a Studio token.
    """
    if not Path(".dvc").is_dir():
        yield lambda point: None
        return
    from dvclive import Live  # imported late, because it loads DVC
    from scmrepo.exceptions import SCMError

    try:
        opened = Live(str(LIVE / name), save_dvc_exp=False, dvcyaml=None)
    except SCMError:  # a Git repository without a commit
        yield lambda point: None
        return
    with opened as live:

        def log(point: Mapping[str, float]) -> None:
            live.step = int(point["step"])
            for key, value in point.items():
                if key != "step":
                    live.log_metric(key, value)
            live.make_summary()

        for point in before:
            log(point)
        yield log
