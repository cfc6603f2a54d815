"""The cost of stage one of an arm, from what was measured: crops that teachers were run on, CPU seconds, its share of the stores."""

from dataclasses import dataclass

from stages.experiment.results import StageOneCost
from stages.project.students import StudentConfig


@dataclass(frozen=True)
class StoreCost:
    """The cost of all stores of an arm, in the views that it uses."""

    crops: int
    cpu_seconds: float
    megabytes: float


def store_cost(arm: StudentConfig, costs: list[StageOneCost], views: int) -> StoreCost:
    """Return the cost of all stores of an arm, in the views that it uses of the `views` stored ones."""
    used_views = (arm.view_count or views) if arm.reads_stores else 0
    stores = [cost for cost in costs if cost.teacher in arm.teachers and cost.dataset in arm.datasets]
    return StoreCost(
        used_views * sum(store.crops for store in stores),
        used_views * sum(store.cpu_seconds for store in stores),
        used_views * sum(store.megabytes for store in stores),
    )
