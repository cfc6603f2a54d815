"""Opening a teacher's store for reading: complete, of these people, in these views, under the teacher's spec of today."""

from typing import Any

import numpy as np

from cache.reader import TargetStore, open_targets
from pipeline.errors import UserError
from pipeline.people.people import People
from pipeline.views import Views
from stages.teachers import store_path, teach_command, teacher_settings


def open_store(
    params: dict[str, Any], teacher: str, dataset: str, split: str, people: People, views: Views
) -> TargetStore:
    """The store; UserError, with the command that makes it, where anything is not as it is now."""
    path, again = store_path(teacher, dataset, split), teach_command(teacher)
    store = open_targets(path, again, people.person)
    layout, spec = store.layout, teacher_settings(params, teacher).spec
    if layout.views != len(views):
        raise UserError(f"{path}: has {layout.views} views, `prepare` drew {len(views)}: run `{again}`")
    for boundary in range(layout.boundaries):
        rows = layout.rows(boundary)
        now = spec.image_from_target(views.regions(rows, slice(None)), (layout.width, layout.height))
        if not np.allclose(store.affines(rows), now.reshape(-1, len(views), 2, 3)):
            raise UserError(f"{path}: was made in other views or under another spec than today's: run `{again}`")
    return store
