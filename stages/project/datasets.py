"""The datasets that params.yaml lists: their settings, the paths of their tables, and reading these."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from pipeline.common.errors import UserError
from pipeline.people.people import People
from pipeline.people.table import read_people
from pipeline.people.views import ROTATION, Views, read_views
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import NO_SKELETON, Skeleton, skeleton_named
from stages.project.parsing import parse

PEOPLE_FOLDER = Path("data/people")
"""Folder of the tables that `prepare` writes."""
TRAIN, VALIDATION, TEST = "train", "validation", "test"
TAUGHT_SPLITS = (TRAIN, VALIDATION)
"""Splits of the annotation file `train`, over which teachers write targets."""

Format = Literal["coco", "mpii", "mpii-release", "halpe", "aic", "aic-release", "crowdpose", "boxes"]
"""The format of annotation files."""
SKELETON_OF = {
    "coco": "coco17",
    "mpii": "mpii16",
    "mpii-release": "mpii16",
    "halpe": "halpe26",
    "aic": "aic14",
    "aic-release": "aic14",
    "crowdpose": "crowdpose14",
}
"""Names of skeletons by format; `boxes` has none."""


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file of a dataset, and the folder of its images."""

    file: str
    """Name of the file inside the dataset's annotation folder."""
    images: str
    """Folder of the images."""
    truth: str | None = None
    """For MPII: name of the `mpii_gt_val.mat` with head boxes, inside the annotation folder."""
    detections: str | None = None
    """Name of a file of person detections, inside the annotation folder. For COCO: `evaluate` uses them besides the annotated
    boxes; for boxes: they replace those of `file`."""
    box_score: Annotated[float, Ge(0), Le(1)] = 0.3
    """For boxes: people of a lower score are not learned from; a box without a score has score 1."""


@dataclass(frozen=True)
class DatasetSettings:
    """A dataset: students and teachers learn from `train`, of which a share validates; `test` is its published validation set."""

    format: Format
    annotations: str
    """Folder of the annotation files, which DVC tracks."""
    score: ScoreKind = "none"
    """The metric of its accuracy: OKS average precision, or PCKh@0.5; none if there are boxes only."""
    train: AnnotationFile | None = None
    test: AnnotationFile | None = None

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of its labels, NO_SKELETON without labels."""
        return skeleton_named(SKELETON_OF[self.format]) if self.labelled else NO_SKELETON

    @property
    def labelled(self) -> bool:
        """Whether its format has keypoints. Without, students learn its people from teachers only, and no model is scored on them."""
        return self.format in SKELETON_OF

    def annotation_file(self, split: str) -> AnnotationFile:
        """Return the annotation file that a split comes from; the dataset must have one."""
        file = self.test if split == TEST else self.train
        assert file is not None
        return file

    def images(self, split: str) -> Path:
        """Return the image folder of a split."""
        return Path(self.annotation_file(split).images)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits for which the dataset has tables."""
        return (*(TAUGHT_SPLITS if self.train else ()), *((TEST,) if self.test else ()))


@dataclass(frozen=True)
class PrepareSettings:
    """The section `prepare` of params.yaml."""

    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the training images that validate."""
    views: Annotated[int, Ge(1), Le(64)] = 4
    """Number of views per person."""
    rotation: Annotated[float, Ge(0), Le(180)] = ROTATION
    """Largest rotation of a view in degrees."""


def parse_dataset(name: str, entry: object) -> DatasetSettings:
    """Return a dataset of params.yaml; UserError if one of its keys is wrong, or if its format excludes its score or test set."""
    dataset = parse(entry, f"datasets.{name}", DatasetSettings)
    where = f"params.yaml: datasets.{name}"
    if dataset.labelled and dataset.score == "none":
        raise UserError(f"{where}.score: expected `ap` or `pckh`, as its people are labelled, found none")
    if not dataset.labelled and dataset.score != "none":
        raise UserError(
            f"{where}.score: expected none, as boxes without labels score no model, found {dataset.score}: leave it out"
        )
    if not dataset.labelled and dataset.test:
        raise UserError(
            f"{where}.test: expected none, as boxes without labels score no model: list labelled images as a dataset of their own format"
        )
    return dataset


@contextlib.contextmanager
def with_prepare_hint(dataset: str) -> Iterator[None]:
    """Append to a UserError about one of the dataset's files that `prepare` is to be run when the file is corrected."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}: correct it, then run `pipeline prepare --dataset {dataset}`") from error


def table_path(dataset: str, split: str, what: Literal["people", "views", "pictures"]) -> Path:
    """Return the path of a table that `prepare` writes."""
    return PEOPLE_FOLDER / dataset / f"{split}-{what}.parquet"


def load_people(dataset: str, split: str) -> People:
    """Read the people table of a split."""
    return read_people(table_path(dataset, split, "people"))


def load_views(dataset: str, split: str, people: People) -> Views:
    """Read the views of a split; UserError if they are not of these people."""
    path = table_path(dataset, split, "views")
    views = read_views(path)
    if len(views.person) != len(people) or (views.person != people.person).any():
        raise UserError(
            f"{path}: its rows are not the people of the people table: run `pipeline prepare --dataset {dataset}`"
        )
    return views
