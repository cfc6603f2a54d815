"""The files of the comparison's results, in a folder for each profile. DVC knows the folders above these: it needs no profile's name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.common.errors import UserError
from stages.evaluate.results import EvaluateSettings
from stages.project.project import NAME_PATTERN, Project

RESULTS = Path("results/experiment")
SCORES, TEACHERS, TABLES = RESULTS / "scores", RESULTS / "teachers", RESULTS / "tables"
SUMMARY = RESULTS / "summary.json"
"""The means of the profile that was tabled last, under its name, for `dvc metrics`."""

Run = dict[str, Any]
"""The cost and the scores of one student, as stages.experiment.scoring writes them: `arm`, `seed`, `steps`, `validation`, `test`, ..."""


RUN_KEYS = ("arm", "seed", "steps", "parameters", "validation")
"""Keys that the runs of all arms have."""


@dataclass(frozen=True)
class StageOneCost:
    """The cost of one teacher over one dataset's training people, per view."""

    teacher: str
    dataset: str
    crops: int
    """Number of crops that the teacher is run on."""
    cpu_seconds: float
    """CPU time of reading the images and running the teacher."""
    megabytes: float
    """Size of the store's share."""


def profile_name(project: Project) -> str:
    """Return the name that the profile's results are kept under; UserError where params.yaml has none that can be a folder's."""
    name = project.section("evaluate", EvaluateSettings).name
    if name is None or not NAME_PATTERN.fullmatch(name):
        raise UserError(
            f"params.yaml: evaluate.name: expected the name of folders in {RESULTS}, of letters, digits, - and _, found {name!r}: "
            "name this profile, so that its scores are not mixed with those of another"
        )
    return name


def scores_path(profile: str, arm: str) -> Path:
    """Return the file of an arm's scores with all seeds. It is kept: arms can be trained one by one, on several days or machines."""
    return SCORES / profile / f"{arm}.json"


def teachers_path(profile: str) -> Path:
    """Return the file of the teachers' scores and of the cost of stage one."""
    return TEACHERS / f"{profile}.json"


def read_runs(profile: str, arm: str) -> list[Run]:
    """Read the scored runs of an arm, a mapping for each seed; none where it is not scored yet. UserError for another file."""
    path = scores_path(profile, arm)
    if not path.is_file():
        return []
    try:
        runs = json.loads(path.read_text())
        if not (isinstance(runs, list) and all(isinstance(run, dict) and set(RUN_KEYS) <= set(run) for run in runs)):
            raise ValueError(f"no list of mappings with {', '.join(RUN_KEYS)}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: expected the scores of {arm}, found {error}: delete it, or bring it back, then run `pipeline experiment score {arm}`"
        ) from error
    return runs
