"""What crop stores are made from: which part of an image each student can see, of which people. Also where the stores are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.fingerprint import array_digest
from pipeline.people.image_manifest import read_image_manifest
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.crops import visible_box
from pipeline.pose.geometry import Regions
from pipeline.pose.spec import NetworkSpec
from stages.project.datasets import TRAIN, table_path
from stages.project.project import Project
from stages.students.settings import settings_of, student_spec
from stages.students.training_settings import TrainingSettings

CROPS_FOLDER = Path("data/crops")
MIN_VIEW_SCALE = 0.05
"""Smallest share of a view that is assumed to stay visible; jitter could leave nothing of it."""


@dataclass(frozen=True)
class CropView:
    """How a student crops a stored view. This determines which part of an image it can ever see."""

    spec: NetworkSpec
    scale: float
    """Largest change of size by jitter, as a share of the view's size."""
    shift: float
    """Largest shift by jitter, as a share of the view's size."""

    @property
    def values(self) -> list[Any]:
        """The JSON values that tell two crop views apart."""
        return [list(self.spec.input_wh), self.spec.padding, self.spec.affine, self.scale, self.shift]

    def widest(self, regions: Regions) -> np.ndarray:
        """Return left, top, right and bottom of all that crops of the regions can show, in image pixels: float (N, 4)."""
        largest = Regions(regions.center, regions.size * (1 + self.scale), regions.rotation)
        shift = self.shift * regions.size
        return visible_box(self.spec.input_from_image(largest), self.spec.input_wh) + np.concatenate(
            [-shift, shift], axis=1
        )

    def density(self, regions: Regions) -> np.ndarray:
        """Return the largest number of input pixels per image pixel, along one axis: float (N,)."""
        closest = Regions(regions.center, regions.size * max(1 - self.scale, MIN_VIEW_SCALE), regions.rotation)
        linear = self.spec.input_from_image(closest)[:, :, :2]
        return np.sqrt(np.abs(np.linalg.det(linear)))


def crop_view(spec: NetworkSpec, training: TrainingSettings) -> CropView:
    """Return the crop view of a student."""
    return CropView(spec, training.scale, training.shift)


def crop_store_path(dataset: str) -> Path:
    """Return the path of the crop store of a dataset's training people."""
    return CROPS_FOLDER / f"{dataset}.zarr"


def crop_views_of_students(project: Project) -> dict[str, list[CropView]]:
    """Return, by dataset, the different crop views of the students that read its crops."""
    crop_views: dict[str, list[CropView]] = {}
    for name, student in project.students.items():
        settings = settings_of(project, name, student)
        if student.draws_views or settings.images != "crops":
            continue
        view = crop_view(student_spec(project, settings), settings.training)
        for dataset in student.datasets:
            known = crop_views.setdefault(dataset, [])
            if view.values not in [other.values for other in known]:
                known.append(view)
    return crop_views


def people_fingerprint(dataset: str, people: People, views: Views) -> dict[str, str]:
    """Return the part of a crop store's fingerprint that identifies the people, their views and the images."""
    manifest = read_image_manifest(table_path(dataset, TRAIN, "pictures"))
    return {
        "people": array_digest(people.person, people.image, people.image_wh, people.use),
        "views": array_digest(views.center, views.size, views.rotation),
        # Stores say "pictures".
        "pictures": array_digest(manifest.name, manifest.sha256),
    }
