"""Parts of datasets that users name as DATASET or DATASET:SPLIT, with the people in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.common.errors import UserError
from pipeline.people.people import People
from pipeline.pose.skeletons import Skeleton
from stages.project.datasets import TEST, DatasetSettings, load_people
from stages.project.project import Project


@dataclass(frozen=True)
class DatasetPart:
    """One split of a dataset of params.yaml."""

    name: str
    dataset: DatasetSettings
    split: str
    truth: People

    @property
    def title(self) -> str:
        """DATASET:SPLIT, as a user may write it."""
        return f"{self.name}:{self.split}"


def parts_named(project: Project, texts: Sequence[str]) -> list[DatasetPart]:
    """Return the parts of `names_of_parts`, with the people of their tables."""
    return [
        DatasetPart(name, project.dataset(name), split, load_people(name, split))
        for name, split in names_of_parts(project, texts)
    ]


def names_of_parts(project: Project, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return dataset and split that each text names, `test` where it gives no split, or all test parts where there are no texts.

    UserError for datasets and splits that params.yaml lacks, and for a split whose labels it does not use.
    """
    datasets = project.datasets
    texts = list(dict.fromkeys(texts)) or [name for name, dataset in datasets.items() if dataset.test]
    if not texts:
        raise UserError(
            "params.yaml: datasets: expected one with a `test` part, found none: name a split, --data DATASET:validation"
        )
    parts = []
    for text in texts:
        name, _, split = text.partition(":")
        dataset, split = project.dataset(name), split or TEST
        if split not in dataset.splits:
            raise UserError(
                f"--data {text}: expected one of {', '.join(f'{name}:{known}' for known in dataset.splits)}"
            )
        if dataset.labelled and not len(dataset.labels_of(split)):
            raise UserError(f"--data {text}: expected a part with labels, found `labels: false`: name another part")
        parts.append((name, split))
    return parts


def student_skeleton(project: Project, otherwise: Skeleton) -> Skeleton:
    """Return the unified skeleton, or `otherwise` where no dataset has labels to learn from."""
    labelled = any(dataset.labels_train for dataset in project.datasets.values())
    return project.skeleton if labelled else otherwise
