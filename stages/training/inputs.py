"""All that a training depends on, resolved, and the fingerprint that a checkpoint or a finished student is recognised by."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cache.fingerprint import array_digest
from cache.layout import canonical
from pipeline.common.files import sha256
from pipeline.pose.options import Logger, NetworkSettings, Preset, Weighting
from pipeline.pose.skeletons import Skeleton
from pipeline.pose.spec import NetworkSpec
from pipeline.targets.online import OnlineTeacher
from pipeline.training.loss_presets import term_weights
from stages.project.datasets import TRAIN, table_path
from stages.students.training_settings import TrainingSettings
from stages.training.code import code_digest
from stages.training.initial_weights import InitialWeights
from stages.training.loader import TrainingSource


@dataclass(frozen=True)
class TrainingInputs:
    """Network, data, teachers, loss and settings of a training, as `fit` and `distill` resolve them."""

    name: str
    """Name of the training's checkpoint."""
    entry: Path
    """The file of the stage that trains. All code that it runs through is part of the fingerprint."""
    network: NetworkSettings
    spec: NetworkSpec
    sources: list[TrainingSource]
    teachers: dict[str, Skeleton]
    weights: dict[str, float]
    """Loss weights of `truth` and of each teacher."""
    min_score: float
    """Teacher keypoints with a score up to this are not learned from."""
    temperature: float
    """Temperature of the teachers' maps."""
    fresh_rotation: float | None
    """Largest rotation in degrees of new views, drawn for each step; None to replay the stored views."""
    settings: TrainingSettings
    seed: int
    online: dict[str, OnlineTeacher] = field(default_factory=dict)
    """Teachers that are run on every crop, by name."""
    online_teachers: dict[str, list[str]] = field(default_factory=dict)
    """sha256 of the files of those teachers, by name."""
    initial_weights: InitialWeights | None = None
    """Weights that the network starts from; None for random ones."""
    preset: Preset | None = None
    """Published weights of truth and teachers, instead of `weights`."""
    weighting: Weighting = "fixed"
    """How the teachers' total weight is distributed over them."""

    loggers: tuple[Logger, ...] = ()
    """Where metrics are logged to besides DVCLive; no weight depends on it."""

    def weights_at(self, progress: float) -> dict[str, float]:
        """Return the loss weights of truth and of each teacher when the share `progress` (0 to 1) of the steps is done."""
        if self.preset is None:
            return self.weights
        terms = term_weights(self.preset, progress)
        return {name: terms[name] for name in ("truth", *self.teachers)}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that the trained weights depend on, the project's code included."""
        inputs = {
            "name": self.name,
            "network": vars(self.network),
            "spec": repr(self.spec),
            "stores": {s.name: {t: store.fingerprint for t, store in s.stores.items()} for s in self.sources},
            "weights": self.weights,
            "preset": self.preset,
            "weighting": self.weighting,
            "min_score": self.min_score,
            "temperature": self.temperature,
            "fresh_rotation": self.fresh_rotation,
            "online": self.online_teachers,
            "initial_weights": self.initial_weights and self.initial_weights.sha256,
            "settings": self.settings.affects_weights,
            "seed": self.seed,
            "people": _people_digest(self.sources),
            "corrections": {s.name: {t: array_digest(c) for t, c in s.corrections.items()} for s in self.sources},
            "labels": {s.name: array_digest(s.people.use, s.people.labelled, s.people.keypoints) for s in self.sources},
            "views": {s.name: s.views.kinds for s in self.sources},
            "crops": {s.name: s.crops and s.crops.fingerprint for s in self.sources},
            "code": code_digest(self.entry),
        }
        return hashlib.sha256(canonical(inputs)).hexdigest()


def _people_digest(sources: list[TrainingSource]) -> str:
    files = [table_path(s.name, TRAIN, table) for s in sources for table in ("people", "views", "pictures")]
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
