"""`Dataset`: the people that a student of params.yaml learns from, for a training loop of one's own. Trains nothing."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.data

from cache.crops import CropStore
from cache.targets import TargetStore
from pipeline.common.errors import UserError
from pipeline.pose.spec import NetworkSpec
from pipeline.training.distributed import Processes
from pipeline.training.losses import Supervision
from stages.distill.inputs import build_inputs
from stages.project.project import load_project
from stages.training.batches import network_target_wh, training_batch
from stages.training.inputs import TrainingInputs
from stages.training.loader import TrainingSource, epoch_order
from stages.training.run import build_loader

Distribution = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""Maps, float32 (K, H, W), of which each sums to 1; for a student of SimCC the bins of x, (K, Wx), and of y, (K, Hy)."""


class Sample(NamedTuple):
    """One person in one view, for the student's K keypoints. torch's collation stacks samples to a Sample of batches."""

    image: torch.Tensor
    """The network's input, float32 (3, H, W), normalised by the student's mean and std."""
    labels: Distribution
    """The labels as distributions, 0 where a keypoint is not labelled."""
    labelled: torch.Tensor
    """bool (K,): is the keypoint labelled, and inside the crop? Where it is not, `labels` mean nothing: leave them out of the loss."""
    targets: dict[str, Distribution]
    """The distributions of each teacher, by its name."""
    taught: dict[str, torch.Tensor]
    """bool (K,) by teacher: does it know the keypoint, surely enough, and inside the crop? Where not, `targets` mean nothing."""
    scores: dict[str, torch.Tensor]
    """float32 (K,) by teacher: its confidences in 0-1."""
    person: str
    """Dataset and id of the person."""


class Dataset(torch.utils.data.Dataset[Sample]):
    """The training people of a student of params.yaml, each in all its stored views, as `pipeline distill` sees them.

    `student` is a name under `students` or `baselines`, by default the first. The current folder is the project's; `prepare`, `crops`
    and `teach` have run there. Stores are verified first. Jitter, flips and colours are those of the student's settings, and are drawn
    from torch's random stream, so that `torch.manual_seed` and the workers of a `DataLoader` decide on them. UserError where
    something is missing, and for a student that does not learn from stored views.
    """

    def __init__(self, student: str | None = None) -> None:
        project = load_project()
        name, config = project.student(student)
        if config.draws_views:
            raise UserError(
                f"params.yaml: students.{name}.views: expected `replayed`, whose views and targets are stored, found {config.views}"
            )
        self._inputs: TrainingInputs = build_inputs(project, name, config, project.seed, "cpu")
        self._loader, _ = build_loader(self._inputs, Processes())
        self._entries = np.concatenate([_entries(s, source) for s, source in enumerate(self._inputs.sources)])

    @property
    def spec(self) -> NetworkSpec:
        """What the student takes and gives."""
        return self._inputs.spec

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the student's K keypoints, in the order of all arrays."""
        return self.spec.skeleton.keypoints

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the teachers that the samples have targets of."""
        return tuple(self._inputs.teachers)

    @property
    def target_wh(self) -> tuple[int, int]:
        """Width and height of the maps, or the numbers of bins of x and of y."""
        return network_target_wh(self.spec)

    def __len__(self) -> int:
        """Return the number of people in use times their views."""
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        """Return a person in a view. The views of one person follow each other."""
        seed = int(torch.randint(2**62, ()))
        loaded = self._loader.load_entries(self._entries[index][None], np.random.default_rng(seed))
        batch = training_batch(self._inputs, loaded, torch.Generator().manual_seed(seed), torch.device("cpu"))
        teachers = batch.teachers
        return Sample(
            image=batch.inputs[0],
            labels=_first(batch.truth),
            labelled=batch.truth.valid[0],
            targets={name: _first(supervision) for name, supervision in teachers.items()},
            taught={name: supervision.valid[0] for name, supervision in teachers.items()},
            scores={
                name: supervision.score[0] for name, supervision in teachers.items() if supervision.score is not None
            },
            person=batch.people[0],
        )

    def order(self, epoch: int) -> list[int]:
        """Return the indices of an epoch in `distill`'s order: each person once, in one view, as `sampler=` of a `DataLoader`.

        People are shuffled within some chunks of the stores at a time, so that each chunk is read about once.
        """
        kinds = tuple(dict.fromkeys(kind for source in self._inputs.sources for kind in source.views.kinds))
        order = epoch_order(self._inputs.sources, epoch, kinds, self._inputs.seed)
        most = self._entries.max(axis=0) + 1
        known, shown = (np.ravel_multi_index(tuple(entries.T), tuple(most)) for entries in (self._entries, order))
        return np.searchsorted(known, shown).tolist()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a worker process opens again: images, chunks and arrays in memory."""
        sources = [_without_memory(source) for source in self._inputs.sources]
        return {**vars(self), "_loader": None, "_inputs": dataclasses.replace(self._inputs, sources=sources)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._loader, _ = build_loader(self._inputs, Processes())


def _entries(number: int, source: TrainingSource) -> np.ndarray:
    """Return source, row and view of everybody in use in all views, int64 (M, 3), in ascending order."""
    rows, views = np.flatnonzero(source.people.use), np.arange(len(source.views))
    return np.stack(
        [np.full(len(rows) * len(views), number), np.repeat(rows, len(views)), np.tile(views, len(rows))], axis=1
    )


def _first(supervision: Supervision) -> Distribution:
    """Return the distributions of the only person of a batch, with zeros where they are not valid."""
    known = supervision.valid[0]
    arrays = [torch.where(known.view(-1, *[1] * (each[0].ndim - 1)), each[0], 0.0) for each in supervision.target]
    return arrays[0] if len(arrays) == 1 else (arrays[0], arrays[1])


def _without_memory(source: TrainingSource) -> TrainingSource:
    """Return the source with stores whose chunks and arrays are not in memory, so that it can be pickled."""
    stores = {name: TargetStore(dataclasses.replace(each.store)) for name, each in source.stores.items()}
    crops = source.crops and CropStore(
        dataclasses.replace(source.crops.store), source.crops.wh, source.crops.crop_from_image
    )
    return dataclasses.replace(source, stores=stores, crops=crops)
