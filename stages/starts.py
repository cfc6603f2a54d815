"""What a student starts from, a published checkpoint or another student: where it lies, which file it is, what it was learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.networks.build import Network
from stages.fetching.catalogue import CHECKPOINTS, STARTS

WEIGHTS = "student.safetensors"


@dataclass(frozen=True)
class Start:
    file: Path
    """A checkpoint, or a student's folder."""
    sha256: str

    @property
    def record(self) -> dict[str, str]:
        """For student.json."""
        return {"file": self.file.name, "sha256": self.sha256}


def start_of(network: Network, start: str | None) -> Start | None:
    """What `distill.start` names, None for drawn weights; UserError where it is absent or the network takes no checkpoint."""
    if start is None:
        return None
    if (Path(start) / WEIGHTS).is_file():
        return Start(Path(start), sha256(Path(start) / WEIGHTS))
    if network == "pyramid":
        raise UserError(
            "params.yaml: distill.start: expected distill.network: rtmpose-t, rtmpose-s or rtmpose-m, found pyramid, "
            "for which nothing is published: leave `start` out, or name a trained student's folder"
        )
    file = Path(start)
    if not file.is_file():
        like = next((entry.name for entry in STARTS if entry.file == file.name), None) or _named(network)
        raise UserError(
            f"params.yaml: distill.start: {file} is missing: run `pipeline teacher fetch {like}`, which says its path"
        )
    return Start(file, sha256(file))


def _named(network: Network) -> str:
    return next(entry.name for entry in STARTS if entry.network == network)


def learned_from(record: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """For a model card: what a student's start was, and the terms of what that was learned from; None without a start."""
    if not record:
        return None
    if not Path(record["file"]).suffix:
        return f"It started from the student `{record['file']}`.", "Its start: what that student was learned from."
    published = {entry.file: entry for entry in (*STARTS, *CHECKPOINTS)}
    known = published.get(record["file"])
    right = known is not None and record["sha256"].startswith(known.sha256)
    terms = known.terms if known and right else "see where it is from"
    return f"Its backbone started from `{record['file']}` (sha256 {record['sha256'][:8]}...).", f"Its start: {terms}."
