"""Dataset parts as users write them, DATASET or DATASET:SPLIT, with the people in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.people.people import People
from pipeline.skeletons import Skeleton
from stages.datasets import TEST, DatasetSettings, dataset_settings, load_people, named, unified


@dataclass(frozen=True)
class DatasetPart:
    """One split of a dataset of params.yaml."""

    name: str
    dataset: DatasetSettings
    split: str
    truth: People

    @property
    def title(self) -> str:
        """As the user may write it."""
        return f"{self.name}:{self.split}"


def parts_named(params: dict[str, Any], texts: Sequence[str]) -> list[DatasetPart]:
    """The parts, `test` where no split is given; of no texts every test part. UserError for what params.yaml does not have."""
    datasets = dataset_settings(params)
    wanted = list(dict.fromkeys(texts)) or [name for name, dataset in datasets.items() if dataset.test]
    if not wanted:
        raise UserError(
            "params.yaml: datasets: expected one with a `test` part, found none: name a split, --data DATASET:validation"
        )
    parts = []
    for text in wanted:
        name, _, split = text.partition(":")
        dataset, split = named(datasets, name), split or TEST
        if split not in dataset.splits:
            raise UserError(
                f"--data {text}: expected one of {', '.join(f'{name}:{known}' for known in dataset.splits)}"
            )
        parts.append(DatasetPart(name, dataset, split, load_people(name, split)))
    return parts


def student_skeleton(params: dict[str, Any], otherwise: Skeleton) -> Skeleton:
    """The unified skeleton, or the other where no dataset has labels to learn from."""
    datasets = dataset_settings(params)
    learned = any(dataset.train and dataset.labelled for dataset in datasets.values())
    return unified(params) if learned else otherwise
