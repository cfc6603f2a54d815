"""The file of an arm's scores: a run joins those of other seeds, unless they cannot be compared with it; then these are set aside."""

from pathlib import Path

from pipeline.common.documents import json_bytes
from pipeline.common.files import sha256, write_atomically
from pipeline.common.locks import exclusive
from stages.experiment.results import Run, read_runs, scores_path


def add_run(profile: str, run: Run) -> str | None:
    """Write a run into its arm's file, in place of an earlier one of its seed, and return a line about what was set aside, if anything.

    Runs of other seeds are set aside where they had not the same length, number of parameters or settings, or were judged on other
    people or resamples: the whole file is copied to NAME.DIGEST.json beside it, which nothing reads.
    """
    path = scores_path(profile, run["arm"])
    with exclusive(path, remove_lock_file=True, wait=True):
        return _add(path, profile, run)


def _add(path: Path, profile: str, run: Run) -> str | None:
    others = [other for other in read_runs(profile, run["arm"]) if other["seed"] != run["seed"]]
    reasons = {other["seed"]: reason for other in others if (reason := _difference(other, run))}
    note = None
    if reasons:
        aside = path.with_name(f"{path.stem}.{sha256(path)[:8]}.json")
        write_atomically(aside, path.read_bytes())
        seed, reason = next(iter(reasons.items()))
        note = (
            f"{path}: seed {seed} {reason}, so that its scores, {len(reasons)} in all, were set aside in {aside.name}"
        )
    kept = [other for other in others if other["seed"] not in reasons]
    write_atomically(path, json_bytes(sorted([*kept, run], key=lambda each: int(each["seed"]))))
    return note


def _difference(other: Run, run: Run) -> str | None:
    """Return why two runs of an arm cannot be compared; None where they can."""
    for key in ("steps", "parameters"):
        if other[key] != run[key]:
            return f"had {other[key]} {key}, seed {run['seed']} has {run[key]}"
    if other.get("recipe") != run["recipe"]:
        return f"was trained with other settings than seed {run['seed']}"
    if other.get("judges") != run["judges"]:
        return f"was judged on other people, metrics or resamples than seed {run['seed']}"
    return None
