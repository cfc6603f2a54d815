"""The students that params.yaml lists: the datasets and teachers that each learns from, and the folder of trained ones."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from stages.project.parsing import parse, with_current_keys

STUDENTS = Path("data/students")
"""Folder of the trained students, one folder each."""
SEEDS = "seeds"
"""Folder inside a student's, of the same student trained with other seeds: a folder each, named by its seed."""
COST_FILE = "cost.json"
"""Name of the file beside a student that is trained with several seeds: the cost and the fingerprint of its training."""


@dataclass(frozen=True)
class StudentConfig:
    """A student: its datasets, teachers and views, and in what it differs from the section `distill`."""

    datasets: list[str]
    """Names of the datasets whose people and labels it learns from."""
    teachers: list[str] = field(default_factory=list)
    """Names of its teachers."""
    views: Literal["replayed", "fresh", "online"] = "replayed"
    """`replayed`: the stored views and the teachers' targets in them. The others draw a new view for each step: `fresh` without
    teachers, `online` with every teacher run on every crop."""
    view_count: Annotated[int, Ge(1)] | None = None
    """Number of stored views that are used, the first ones; all by default."""
    label_drop: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the people whose labels are dropped."""
    label_noise: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the labels that get noise, of about a tenth of the person's longer box side."""
    length: Annotated[float, Gt(0)] = 1.0
    """Factor of the length of its training."""
    distill: dict[str, Any] = field(default_factory=dict)
    """Keys of the section `distill` that differ for this student, also inside its `training`."""

    @property
    def draws_views(self) -> bool:
        """Whether it draws a new view for each step."""
        return self.views != "replayed"

    @property
    def reads_stores(self) -> bool:
        """Whether its teachers' targets come from their stores."""
        return bool(self.teachers) and self.views != "online"


def recorded_config(folder: Path) -> StudentConfig | None:
    """Read what a student was trained with from its folder, also with keys of earlier versions; None if that has no such entry."""
    file = folder / "student.json"
    recorded = json.loads(file.read_text()).get("arm")
    return parse(with_current_keys(recorded), "arm", StudentConfig, file) if recorded else None
