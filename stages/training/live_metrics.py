"""The metrics of a running training: DVCLive's table per metric and its summary, and the loggers that params.yaml names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.pose.options import Logger
from stages.training.loggers import open_logger

LIVE = Path("data/live")


@contextmanager
def live_metrics(
    name: str, before: Sequence[Mapping[str, float]], loggers: Sequence[Logger] = ()
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a function that logs a point with its `step` to DVCLive and to each of the loggers. The points of `before` are logged first."""
    with ExitStack() as stack:
        places = [stack.enter_context(open_logger(logger, name, LIVE / name)) for logger in loggers]
        places.append(stack.enter_context(_dvclive(name)))

        def log(point: Mapping[str, float]) -> None:
            for place in places:
                place(point)

        for point in before:
            log(point)
        yield log


@contextmanager
def _dvclive(name: str) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a function that logs a point to data/live/<name>/plots/metrics/*.tsv and metrics.json.

    Nothing is logged outside a DVC project, because DVCLive would create one, nor in a Git repository without a commit, because
    DVCLive needs one. No experiment is saved and no dvc.yaml is written. Nothing leaves the machine unless the user has given DVC a
    Studio token.
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

        yield log
