"""The comparison that experiments/arms.yaml describes: its arms, its seeds, and where each run lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError, one_line
from stages.params import parse, refuse_unknown
from stages.students import Arm

ARMS = Path("experiments/arms.yaml")
RUNS = Path("data/experiment")
KEYS = ("seeds", "conditions", "ablations", "arms")
CONTROL, DISTILLED = "control", "offline-4"
"""What the tables compare: an arm without teachers, and one with, which every ablation changes one setting of."""


@dataclass(frozen=True)
class Experiment:
    """Every arm is trained with every seed."""

    seeds: tuple[int, ...]
    conditions: dict[str, tuple[str, str]]
    """Changes that both CONTROL and DISTILLED are trained under: in words, and the names of the two arms."""
    ablations: tuple[str, ...]
    """Arms that are scored on validation people only."""
    arms: dict[str, Arm]

    @property
    def main(self) -> dict[str, Arm]:
        """The arms of the first table: those of no condition and no ablation."""
        beside = {*self.ablations, *(name for pair in self.conditions.values() for name in pair)}
        return {name: arm for name, arm in self.arms.items() if name not in beside}

    def arm(self, name: str) -> Arm:
        """The arm of that name; UserError lists the known ones."""
        if name not in self.arms:
            raise UserError(f"{ARMS}: unknown arm `{name}`: expected one of {', '.join(self.arms)}")
        return self.arms[name]


def load_experiment(path: Path = ARMS) -> Experiment:
    """The parsed file; UserError where it is absent or says something that is not understood."""
    if not path.is_file():
        raise UserError(f"{path} not found: run this in the project's folder, or copy the file from the repository")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: not readable as YAML: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping with {', '.join(KEYS)}, found {type(values).__name__}")
    refuse_unknown(values, KEYS, str(path))
    entries = values.get("arms") or {}
    if not isinstance(entries, dict):
        raise UserError(f"{path}: arms: expected names with their settings, found {entries!r}")
    arms = {str(name): parse(entry, f"arms.{name}", Arm, path) for name, entry in entries.items()}
    conditions, ablations = _conditions(values, path), _ablations(values, path)
    found = Experiment(_seeds(values.get("seeds"), path), conditions, ablations, arms)
    wanted = [CONTROL, DISTILLED, *ablations, *(name for pair in conditions.values() for name in pair)]
    for name in wanted:
        if name not in arms:
            raise UserError(f"{path}: arms.{name}: missing: the tables are made from it")
    return found


def run_folder(arm: str, seed: int) -> Path:
    """Where an arm's student, curve and scores lie."""
    return RUNS / f"{arm}-{seed}"


def _seeds(values: Any, path: Path) -> tuple[int, ...]:
    if not (isinstance(values, list) and values and all(type(v) is int and 0 <= v < 2**63 for v in values)):
        raise UserError(f"{path}: seeds: expected a list of whole numbers from 0 to 2^63 - 1, found {values!r}")
    return tuple(dict.fromkeys(values))


def _ablations(values: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = values.get("ablations") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"{path}: ablations: expected a list of arms, found {names!r}")
    return tuple(dict.fromkeys(names))


def _conditions(values: dict[str, Any], path: Path) -> dict[str, tuple[str, str]]:
    pairs = values.get("conditions") or {}
    if not isinstance(pairs, dict):
        raise UserError(f"{path}: conditions: expected names with two arms each, found {pairs!r}")
    for name, pair in pairs.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(arm, str) for arm in pair)):
            raise UserError(f"{path}: conditions.{name}: expected two arms, without teachers and with, found {pair!r}")
    return {str(name): (pair[0], pair[1]) for name, pair in pairs.items()}
