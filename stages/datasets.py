"""The datasets that params.yaml lists: their settings, where their tables lie, and reading these."""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from pipeline.errors import UserError
from pipeline.people.people import People
from pipeline.people.table import read_people
from pipeline.skeletons import NO_SKELETON, Skeleton, skeleton_named, union
from pipeline.views import ROTATION, Views, read_views
from stages.params import parse

PEOPLE = Path("data/people")
TRAIN, VALIDATION, TEST = "train", "validation", "test"
TAUGHT = (TRAIN, VALIDATION)

Format = Literal["coco", "mpii", "mpii-release", "halpe", "aic", "aic-release", "crowdpose", "boxes"]
SKELETON_OF = {
    "coco": "coco17",
    "mpii": "mpii16",
    "mpii-release": "mpii16",
    "halpe": "halpe26",
    "aic": "aic14",
    "aic-release": "aic14",
    "crowdpose": "crowdpose14",
}
"""By format; `boxes` has none."""


@dataclass(frozen=True)
class Part:
    """One annotation file of a dataset, inside its annotation folder, and the folder of its pictures."""

    file: str
    images: str
    truth: str | None = None
    """MPII: the `mpii_gt_val.mat` with head boxes, inside the annotation folder."""
    detections: str | None = None
    """COCO: person detections to evaluate on besides the annotated boxes; boxes: those to take instead of the file's own. Inside
    the annotation folder."""
    box_score: Annotated[float, Ge(0), Le(1)] = 0.3
    """Boxes: nobody learns from those with a lower score; a box without one counts as 1."""


@dataclass(frozen=True)
class DatasetSettings:
    """A dataset: `train` is what students and teachers learn from (validation is split off it), `test` its published validation set."""

    format: Format
    annotations: str
    """Folder of the annotation files; DVC tracks it."""
    score: Literal["ap", "pckh", "none"] = "none"
    """What its accuracy is: OKS average precision, or PCKh@0.5; none where there are boxes only."""
    train: Part | None = None
    test: Part | None = None

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_named(SKELETON_OF[self.format]) if self.labelled else NO_SKELETON

    @property
    def labelled(self) -> bool:
        """Does its format have keypoints at all; without, teachers alone teach on its people, and nobody is scored on them."""
        return self.format in SKELETON_OF

    def images(self, split: str) -> Path:
        """Picture folder of a split."""
        part = self.test if split == TEST else self.train
        assert part is not None
        return Path(part.images)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the dataset has tables for."""
        return (*(TAUGHT if self.train else ()), *((TEST,) if self.test else ()))


@dataclass(frozen=True)
class PrepareSettings:
    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the training part's pictures that validates."""
    views: Annotated[int, Ge(1), Le(64)] = 4
    """Views per person."""
    rotation: Annotated[float, Ge(0), Le(180)] = ROTATION
    """Largest rotation of a view, in degrees."""


def dataset_settings(params: dict[str, Any]) -> dict[str, DatasetSettings]:
    """All datasets by name, in the file's order."""
    values = params.get("datasets")
    if not isinstance(values, dict) or not values:
        raise UserError("params.yaml: datasets: expected at least one dataset, found none: see params/ for examples")
    found = {}
    for name, value in values.items():
        nested = dict(value) if isinstance(value, dict) else value
        if isinstance(nested, dict):
            for part in (TRAIN, TEST):
                if nested.get(part) is not None:
                    nested[part] = parse(nested[part], f"datasets.{name}.{part}", Part)
        found[str(name)] = _consistent(
            f"params.yaml: datasets.{name}", parse(nested, f"datasets.{name}", DatasetSettings)
        )
    return found


def _consistent(where: str, dataset: DatasetSettings) -> DatasetSettings:
    """The same; UserError where format, score and parts do not go together."""
    if dataset.labelled and dataset.score == "none":
        raise UserError(f"{where}.score: expected `ap` or `pckh`, as its people are labelled, found none")
    if not dataset.labelled and dataset.score != "none":
        raise UserError(
            f"{where}.score: expected none, as boxes alone judge nobody, found {dataset.score}: leave it out"
        )
    if not dataset.labelled and dataset.test:
        raise UserError(
            f"{where}.test: expected none, as boxes alone judge nobody: list labelled pictures as a dataset of their own format"
        )
    return dataset


def named(datasets: dict[str, DatasetSettings], name: str) -> DatasetSettings:
    """The dataset of that name; UserError lists the known ones."""
    if name not in datasets:
        raise UserError(f"params.yaml: unknown dataset `{name}`: expected one of {', '.join(datasets)}")
    return datasets[name]


def unified(params: dict[str, Any]) -> Skeleton:
    """The student's skeleton: the union over the datasets with labels to learn from; where there are boxes only, the teachers'."""
    trained = [dataset for dataset in dataset_settings(params).values() if dataset.train]
    if not trained:
        raise UserError("params.yaml: datasets: expected one with a `train` part, found none")
    taught = [dataset.skeleton for dataset in trained if dataset.labelled]
    if not taught:
        teachers = params.get("teachers")
        entries = teachers.values() if isinstance(teachers, dict) else []
        taught = [skeleton_named(str(entry.get("skeleton"))) for entry in entries if isinstance(entry, dict)]
    if not taught:
        raise UserError(
            "params.yaml: datasets: expected one with labels, or teachers, to know the student's keypoints from, found neither"
        )
    return dataclasses.replace(union(taught), name="unified")


@contextlib.contextmanager
def advised(dataset: str) -> Iterator[None]:
    """What is wrong with one of the dataset's files, and then what to do about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}: mend it, then run `pipeline prepare --dataset {dataset}`") from error


def table_path(dataset: str, split: str, what: Literal["people", "views", "pictures"]) -> Path:
    """Where `prepare` puts a table."""
    return PEOPLE / dataset / f"{split}-{what}.parquet"


def load_people(dataset: str, split: str) -> People:
    """The people table of a split."""
    return read_people(table_path(dataset, split, "people"))


def load_views(dataset: str, split: str, people: People) -> Views:
    """The views of a split; UserError if they are not of these people."""
    path = table_path(dataset, split, "views")
    views = read_views(path)
    if len(views.person) != len(people) or (views.person != people.person).any():
        raise UserError(
            f"{path}: its rows are other people than the people table's: run `pipeline prepare --dataset {dataset}`"
        )
    return views
