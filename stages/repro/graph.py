"""The stages that DVC knows: which needs which, and how many seconds each takes."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from pipeline.common.errors import UserError

SHORT = 5.0
"""Seconds that a stage is expected to take of which nothing else is known: most of that is DVC and Python starting."""


def stages_of(targets: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, float]]:
    """Return which of the stages each stage needs, by name, and the seconds that dvc.yaml says it takes (`meta`).

    The stages are `targets` alone, or all of dvc.yaml. UserError for a target that there is not.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            if targets:
                chosen = [stage for target in targets for stage in repo.stage.collect(target)]
            else:
                chosen = [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"]
            graph = repo.index.graph
            needs = {stage.addressing: {other.addressing for other in graph.successors(stage)} for stage in chosen}
            seconds = {stage.addressing: float((stage.meta or {}).get("seconds", SHORT)) for stage in chosen}
    except DvcException as error:
        raise UserError(str(error)) from error
    return {name: others & needs.keys() for name, others in needs.items()}, seconds


def seconds_behind(needs: Mapping[str, set[str]], expected: Mapping[str, float]) -> dict[str, float]:
    """Return, for each stage, the seconds of the longest chain of stages that wait for it."""
    behind = dict.fromkeys(needs, 0.0)
    for name in reversed(list(TopologicalSorter(needs).static_order())):
        for needed in needs[name]:
            behind[needed] = max(behind[needed], behind[name] + expected[name])
    return behind


def history(file: Path) -> dict[str, float]:
    """Return the seconds that each stage took when it was last run to its end, from the lines that `pipeline repro` wrote."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    parts = [line.split() for line in lines]
    return {part[2]: float(part[3]) for part in parts if len(part) == 6 and part[5] == "done"}
