"""The students that params.yaml lists: which datasets and teachers each learns from, and where it lies when trained."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError
from stages.params import parse

STUDENTS = Path("data/students")


@dataclass(frozen=True)
class Arm:
    """One student: which datasets' people and labels, which teachers, and in which views."""

    datasets: list[str]
    teachers: list[str] = field(default_factory=list)
    views: Literal["replayed", "fresh"] = "replayed"
    """`fresh` draws a new view each time, which only a student without teachers can."""


def arms(params: dict[str, Any]) -> dict[str, Arm]:
    """All students by name, those with teachers first."""
    found = {}
    for section in ("students", "baselines"):
        entries = params.get(section) or {}
        if not isinstance(entries, dict):
            raise UserError(f"params.yaml: {section}: expected names with their settings, found {entries!r}")
        for name, values in entries.items():
            found[str(name)] = parse(values, f"{section}.{name}", Arm)
    if not found:
        raise UserError("params.yaml: students: expected at least one, found none: see params/ for examples")
    return found


def arm_named(params: dict[str, Any], name: str | None) -> tuple[str, Arm]:
    """The student of that name, or the first; UserError lists the known ones."""
    known = arms(params)
    chosen = name or next(iter(known))
    if chosen not in known:
        raise UserError(f"params.yaml: unknown student `{chosen}`: expected one of {', '.join(known)}")
    return chosen, known[chosen]
