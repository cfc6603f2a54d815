"""Opens the crop stores of training people for a student. Writes nothing."""

from cache.crops import CropStore, open_crops
from pipeline.common.errors import UserError
from pipeline.people.people import People
from pipeline.people.views import Views
from stages.project.project import Project
from stages.stores.checks import refuse_damage, refuse_other_inputs
from stages.stores.crop_views import CropView, crop_store_path, crop_views_of_students, people_fingerprint

REBUILD_COMMAND = "pipeline crops"


def verified_crop_store(project: Project, dataset: str, people: People, views: Views, view: CropView) -> CropStore:
    """Open a crop store as `open_crop_store` does, and refuse it if any of its bytes has changed since it was written."""
    crops = open_crop_store(project, dataset, people, views, view)
    refuse_damage(crops.store, REBUILD_COMMAND)
    return crops


def open_crop_store(project: Project, dataset: str, people: People, views: Views, view: CropView) -> CropStore:
    """Open the crops of a dataset's training people; UserError if they are of other people or do not show enough for the view."""
    path = crop_store_path(dataset)
    if view.values not in [known.values for known in crop_views_of_students(project).get(dataset, [])]:
        raise UserError(
            f"{path}: `{REBUILD_COMMAND}` makes none for input, padding and jitter of this student: list it in params.yaml, "
            "or give it `images: files` under `distill`"
        )
    crops = open_crops(path, REBUILD_COMMAND, people.person)
    refuse_other_inputs(crops.store, people_fingerprint(dataset, people, views), REBUILD_COMMAND)
    if view.values not in crops.fingerprint["looks"]:  # the stored name of crop views
        raise UserError(f"{path}: was made for students that see less of an image: run `{REBUILD_COMMAND}`")
    return crops
