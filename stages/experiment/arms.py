"""The comparison that experiments/arms.yaml describes: its arms, its seeds, and the folder of each run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.common.errors import UserError
from stages.project.datasets import PrepareSettings
from stages.project.parsing import parse, refuse_unknown
from stages.project.project import Project
from stages.project.students import StudentConfig
from stages.project.yaml_files import read_yaml

ARMS = Path("experiments/arms.yaml")
RUNS = Path("data/experiment")
KEYS = ("seeds", "other_seeds", "headline", "conditions", "ablations", "arms")
"""The keys of arms.yaml."""

CONTROL, DISTILLED = "control", "offline-4"
"""The arms that the tables compare: one without teachers, and one with teachers, of which every ablation changes one setting."""


@dataclass(frozen=True)
class Experiment:
    """A comparison, in which every arm is trained with several seeds."""

    seeds: tuple[int, ...]
    """Seeds of the arms of `headline`."""
    other_seeds: int
    """Number of these seeds, the first ones, that the other arms are trained with."""
    headline: tuple[str, ...]
    """Names of the arms that are trained with all seeds."""
    conditions: dict[str, tuple[str, str]]
    """Changes that both CONTROL and DISTILLED are trained under: the names of the two arms by the description of the change."""
    ablations: tuple[str, ...]
    """Names of the arms that are scored on validation people only."""
    arms: dict[str, StudentConfig]
    """The arms by name."""

    @property
    def main(self) -> dict[str, StudentConfig]:
        """The arms of the first table: those that belong to no condition and are no ablation."""
        others = {*self.ablations, *(name for pair in self.conditions.values() for name in pair)}
        return {name: arm for name, arm in self.arms.items() if name not in others}

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds that an arm is trained with."""
        return self.seeds if name in self.headline else self.seeds[: self.other_seeds]

    def known(self, project: Project) -> list[str]:
        """Return the names of the arms whose datasets and teachers params.yaml has."""
        trained, teachers = set(project.trained_datasets), set(project.teacher_names)
        return [
            name for name, arm in self.arms.items() if set(arm.datasets) <= trained and set(arm.teachers) <= teachers
        ]

    def possible(self, project: Project) -> list[str]:
        """Return the names of the arms that can be trained: `known`, with no more views than params.yaml has."""
        views = project.section("prepare", PrepareSettings).views
        return [name for name in self.known(project) if (self.arms[name].view_count or 1) <= views]

    def arm(self, name: str) -> StudentConfig:
        """Return the arm of that name; UserError, with the known names, for another name."""
        if name not in self.arms:
            raise UserError(f"{ARMS}: unknown arm `{name}`: expected one of {', '.join(self.arms)}")
        return self.arms[name]


def load_experiment(path: Path = ARMS) -> Experiment:
    """Read arms.yaml; UserError where it is missing or invalid."""
    if not path.is_file():
        raise UserError(f"{path} not found: run this in the project's folder, or copy the file from the repository")
    values = read_yaml(path)
    refuse_unknown(values, KEYS, str(path))
    entries = values.get("arms") or {}
    if not isinstance(entries, dict):
        raise UserError(f"{path}: arms: expected names with their settings, found {entries!r}")
    arms = {str(name): parse(entry, f"arms.{name}", StudentConfig, path) for name, entry in entries.items()}
    seeds = _seeds(values.get("seeds"), path)
    other_seeds = values.get("other_seeds", len(seeds))
    if not (type(other_seeds) is int and 1 <= other_seeds <= len(seeds)):
        raise UserError(f"{path}: other_seeds: expected a number from 1 to {len(seeds)}, found {other_seeds!r}")
    conditions = _conditions(values, path)
    headline, ablations = _names(values, "headline", path), _names(values, "ablations", path)
    for name in [CONTROL, DISTILLED, *headline, *ablations, *(name for pair in conditions.values() for name in pair)]:
        if name not in arms:
            raise UserError(f"{path}: arms.{name}: missing: the tables are made from it")
    return Experiment(seeds, other_seeds, headline, conditions, ablations, arms)


def run_folder(arm: str, seed: int) -> Path:
    """Return the folder of an arm's student, its curve and its cost."""
    return RUNS / "students" / arm / str(seed)


def _seeds(values: Any, path: Path) -> tuple[int, ...]:
    if not (isinstance(values, list) and values and all(type(v) is int and 0 <= v < 2**63 for v in values)):
        raise UserError(f"{path}: seeds: expected a list of whole numbers from 0 to 2^63 - 1, found {values!r}")
    return tuple(dict.fromkeys(values))


def _names(values: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = values.get(key) or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"{path}: {key}: expected a list of arms, found {names!r}")
    return tuple(dict.fromkeys(names))


def _conditions(values: dict[str, Any], path: Path) -> dict[str, tuple[str, str]]:
    pairs = values.get("conditions") or {}
    if not isinstance(pairs, dict):
        raise UserError(f"{path}: conditions: expected names with two arms each, found {pairs!r}")
    for name, pair in pairs.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(arm, str) for arm in pair)):
            raise UserError(f"{path}: conditions.{name}: expected two arms, without teachers and with, found {pair!r}")
    return {str(name): (pair[0], pair[1]) for name, pair in pairs.items()}
