"""The datasets that params.yaml lists: their settings, the paths of their tables, and reading these."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from pipeline.common.errors import UserError, short_repr
from pipeline.people.people import People, without_labels
from pipeline.people.split import split_by_image
from pipeline.people.table import read_people
from pipeline.people.views import ROTATION, Views, read_views
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import HEAD_ENDS, NO_SKELETON, SKELETONS, TORSO, Skeleton
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
"""Names of skeletons by format, for `coco` if its entry names none; `boxes` has none."""
SCORED_KEYPOINTS: dict[ScoreKind, tuple[str, ...]] = {"pckh": HEAD_ENDS, "pck": TORSO}
"""Keypoints without which a score has no unit of length."""
UNKNOWN_LICENCE = "its licence is unknown; `licence` of the dataset in params.yaml states one."
"""Licence of a dataset that names its skeleton and gives none: its format does not tell whose data it is."""
TEST_DRAW = "test"
"""What stands in place of the seed where images are drawn for a `share` that tests, so that every seed has the same test."""


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
    only: str | None = None
    """Path of a text file with a line for each image that is taken, like `000000000139.jpg` or `val2017/000000000139.jpg`; without it all
    are."""
    labels: bool = True
    """In `train`: false makes the images and boxes of a labelled file people without labels, who are learned from teachers only."""
    share: Annotated[float, Gt(0), Lt(1)] | None = None
    """In `test`, instead of `file` and `images`: the share of the images of `train` that test and are not learned from. An image's name
    decides, whatever the seed."""


@dataclass(frozen=True)
class DatasetSettings:
    """A dataset: students and teachers learn from `train`, of which a share validates; `test` is its published validation set."""

    format: Format
    annotations: str = "."
    """Folder that the names of annotation files start from. DVC tracks the named files alone."""
    score: ScoreKind = "none"
    """The metric of its accuracy: OKS average precision, PCKh@0.5, or PCK@0.2 of the torso; none if there are boxes only."""
    skeleton: Skeleton = NO_SKELETON
    """The skeleton of its labels, by its name in params.yaml: for `format: coco`, a built-in one or one of `skeletons`."""
    licence: str | None = None
    """The licence of its annotations and images, for model cards; without it that of the format's own dataset, unless `skeleton` is
    given, as then they are somebody else's."""
    category: str | list[str] | None = None
    """For `coco` and `boxes`: the names of the categories of people; by default `person`, or the only category there is."""
    train: AnnotationFile | None = None
    test: AnnotationFile | None = None

    @property
    def labelled(self) -> bool:
        """Whether its format has keypoints. Without, students learn its people from teachers only, and no model is scored on them."""
        return len(self.skeleton) > 0

    @property
    def labels_train(self) -> bool:
        """Whether students learn from its labels, so that its keypoints are in the unified skeleton."""
        return self.labelled and self.train is not None and self.train.labels

    @property
    def people_categories(self) -> tuple[str, ...]:
        """The names of the categories of people; empty where the default applies."""
        return (self.category,) if isinstance(self.category, str) else tuple(self.category or ())

    def labels_of(self, split: str) -> Skeleton:
        """Return the skeleton of the labels in the tables of a split, NO_SKELETON where its people have none."""
        return self.skeleton if split == TEST or self.labels_train else NO_SKELETON

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

    def people_of(self, split: str, people: People, validation: float, seed: int) -> People:
        """Return those of the people of the split's annotation file who are in the split, without labels where they have none there.

        `validation` is the share of the training images that validate.
        """
        if self.test and self.test.share is not None:
            rest, test = split_by_image(people, self.test.share, TEST_DRAW)
            people = people.rows(test if split == TEST else rest)
        if split == TEST:
            return people
        train, held_out = split_by_image(people, validation, seed)
        people = people.rows(train if split == TRAIN else held_out)
        return people if self.labels_train or not self.labelled else without_labels(people)


@dataclass(frozen=True)
class PrepareSettings:
    """The section `prepare` of params.yaml."""

    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the training images that validate."""
    views: Annotated[int, Ge(1), Le(64)] = 4
    """Number of views per person."""
    rotation: Annotated[float, Ge(0), Le(180)] = ROTATION
    """Largest rotation of a view in degrees."""


def parse_dataset(name: str, entry: object, skeletons: Mapping[str, Skeleton] = SKELETONS) -> DatasetSettings:
    """Return a dataset of params.yaml; UserError if one of its keys is wrong, or does not go with another.

    `skeletons` are those that it can name.
    """
    where = f"params.yaml: datasets.{name}"
    values, named = _without_skeleton(_with_shared_test(entry, where))
    dataset = parse(values, f"datasets.{name}", DatasetSettings)
    if named is not None and dataset.format != "coco":
        raise UserError(
            f"{where}.skeleton: expected none, as `format: {dataset.format}` has its own, found {short_repr(named)}: use `format: coco`"
        )
    default = SKELETON_OF.get(dataset.format) if named is None else named
    if default is not None and not (isinstance(default, str) and default in skeletons):
        raise UserError(
            f"{where}.skeleton: expected one of {', '.join(skeletons)}, found {short_repr(default)}: describe it in `skeletons`"
        )
    dataset = replace(dataset, skeleton=NO_SKELETON if default is None else skeletons[default])
    if named is not None and dataset.licence is None:
        dataset = replace(dataset, licence=UNKNOWN_LICENCE)
    if dataset.category is not None and dataset.format not in ("coco", "boxes"):
        raise UserError(f"{where}.category: expected none, as `format: {dataset.format}` has its own: leave it out")
    _refuse_score(dataset, where)
    _refuse_parts(dataset, where)
    return dataset


def _without_skeleton(entry: object) -> tuple[object, Any]:
    """Return an entry without its `skeleton`, and that, None where there is none."""
    if not isinstance(entry, dict):
        return entry, None
    return {key: value for key, value in entry.items() if key != "skeleton"}, entry.get("skeleton")


def _with_shared_test(entry: object, where: str) -> object:
    """Return an entry whose test part names the training file where it is a share of that."""
    test, train = (entry.get(key) if isinstance(entry, dict) else None for key in ("test", "train"))
    if not isinstance(entry, dict) or not isinstance(test, dict) or test.get("share") is None:
        return entry
    if more := sorted(map(str, test.keys() - {"share"})):
        raise UserError(f"{where}.test: expected `share` alone, as it is of the train part, found {more[0]} too")
    if not isinstance(train, dict):
        raise UserError(f"{where}.test.share: expected a `train` part that it is the share of, found none")
    shared = {key: value for key, value in train.items() if key in ("file", "images", "truth", "only")}
    return {**entry, "test": {**shared, **test}}


def _refuse_score(dataset: DatasetSettings, where: str) -> None:
    scored = dataset.labels_train or (dataset.labelled and dataset.test is not None)
    if scored and dataset.score == "none":
        raise UserError(f"{where}.score: expected `ap`, `pckh` or `pck`, as its people are labelled, found none")
    if not dataset.labelled and dataset.score != "none":
        raise UserError(
            f"{where}.score: expected none, as boxes without labels score no model, found {dataset.score}: leave it out"
        )
    skeleton = dataset.skeleton
    lacking = [k for k in SCORED_KEYPOINTS.get(dataset.score, ()) if k not in skeleton.keypoints]
    if lacking:
        raise UserError(
            f"{where}.score: `{dataset.score}` needs {' and '.join(SCORED_KEYPOINTS[dataset.score])}, "
            f"found no {lacking[0]} in {skeleton.name}: use another score, or an alias in `skeletons`"
        )


def _refuse_parts(dataset: DatasetSettings, where: str) -> None:
    if not dataset.labelled and dataset.test:
        raise UserError(
            f"{where}.test: expected none, as boxes without labels score no model: list labelled images as a dataset of their own format"
        )
    if dataset.test and not dataset.test.labels:
        raise UserError(f"{where}.test.labels: expected true, as people without labels score no model, found false")
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        if part and part.only and part.detections:
            raise UserError(
                f"{where}.{split}.only: expected none beside `detections`, as these are scored over all images of the annotation file"
            )
    if dataset.train and dataset.train.share is not None:
        raise UserError(f"{where}.train.share: expected none: `test` states its share, and the rest trains")


@contextlib.contextmanager
def with_prepare_hint(dataset: str) -> Iterator[None]:
    """Append to a UserError about one of the dataset's files that `prepare` is to be run when the file is corrected."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}: correct it, then run `pipeline prepare --dataset {dataset}`") from error


def refuse_missing(where: str, path: Path) -> None:
    """Raise UserError where a file that is named at `where` in params.yaml is not there."""
    if not path.is_file():
        state = "is a folder, expected a file" if path.is_dir() else "does not exist"
        raise UserError(
            f"{where}: {path} {state}: for the built-in sample run `pipeline data sample`, else correct params.yaml"
        )


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
