"""The students that params.yaml lists: which datasets and teachers each learns from, and where it lies when trained."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from pipeline.errors import UserError
from stages.params import parse

STUDENTS = Path("data/students")


@dataclass(frozen=True)
class Arm:
    """One student: which datasets' people and labels, which teachers, in which views, and what else differs from `distill`."""

    datasets: list[str]
    teachers: list[str] = field(default_factory=list)
    views: Literal["replayed", "fresh", "warped", "online"] = "replayed"
    """`replayed`: the stored views and the teachers' targets in them. The others draw a new view each time: `fresh` without
    teachers, `warped` with the targets of view 0 turned and stretched into it, `online` with every teacher run on every crop."""
    view_count: Annotated[int, Ge(1)] | None = None
    """Only so many of the stored views, the first ones; all by default."""
    missing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the people whose labels are withheld."""
    noisy: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the labels that are moved, by about a tenth of the person's longer box side."""
    distill: dict[str, Any] = field(default_factory=dict)
    """DistillSettings that differ from those under `distill`; so does what stands in its `training`."""

    @property
    def draws_views(self) -> bool:
        """Are its views new each time."""
        return self.views != "replayed"

    @property
    def reads_stores(self) -> bool:
        """Do its teachers' targets come from their stores."""
        return bool(self.teachers) and self.views != "online"


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
