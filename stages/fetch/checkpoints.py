"""`teacher fetch`: a published checkpoint, downloaded to data/published, and what to do with it next."""

import shlex
from collections.abc import Callable
from pathlib import Path

from pipeline.common.files import sha256
from pipeline.common.locks import exclusive
from pipeline.networks import published
from pipeline.networks.published import BackboneCheckpoint, TeacherCheckpoint
from stages.fetch.catalogue import entry_named
from stages.fetch.download import download, mirrored
from stages.fetch.places import expect_folder, is_downloaded

PUBLISHED = Path("data/published")
TEACHERS = Path("data/teachers")


def list_checkpoints() -> str:
    """One line for each checkpoint: name, input (height x width), published score; teachers first, then backbones of students."""
    lines = [f"{'name':18} {'input':8} published score"]
    for checkpoint in published.TEACHER_CHECKPOINTS:
        lines.append(f"{checkpoint.name:18} {_input(checkpoint):8} {_score(checkpoint)}")
    lines += ["", "no teachers, but backbones that students start from (`distill.start` in params.yaml):"]
    for backbone in published.BACKBONE_CHECKPOINTS:
        lines.append(f"{backbone.name:18} {'any':8} {backbone.network}'s; under its own head {_score(backbone)}")
    return "\n".join(lines)


def fetch_checkpoint(
    name: str, folder: Path = PUBLISHED, mirror: str | None = None, log: Callable[[str], object] = print
) -> Path:
    """Bring a published checkpoint into `folder` and print what to do with it.

    `mirror`: an address that replaces the maker's host; what comes is checked alike. Raises UserError if the checkpoint cannot be
    downloaded or is another file.
    """
    offered: tuple[TeacherCheckpoint | BackboneCheckpoint, ...] = (
        *published.TEACHER_CHECKPOINTS,
        *published.BACKBONE_CHECKPOINTS,
    )
    checkpoint = entry_named(name, offered, "checkpoint")
    address = mirrored(checkpoint.address, mirror)
    place = folder / checkpoint.file
    expect_folder(folder)
    with exclusive(place):
        if is_downloaded(place, checkpoint.sha256):
            log(f"{place} exists already")
        else:
            log(f"{checkpoint.name} from {address}")
            download(address, place, checkpoint.sha256, log=log)
            log(f"{place}: {place.stat().st_size / 1e6:.1f} MB")
    log(f"sha256: {sha256(place)} (its first eight digits are in the file's name)")
    log(f"published score: {_score(checkpoint)}")
    log(f"licence: {checkpoint.terms}")
    if isinstance(checkpoint, BackboneCheckpoint):
        log(f"next: in params.yaml, `distill`: network: {checkpoint.network}, start: {place}")
        return place
    out = TEACHERS / f"{checkpoint.skeleton.rstrip('0123456789')}.onnx"
    log(
        f"next: pipeline teacher import {shlex.quote(str(place))} --arch {checkpoint.arch} "
        f"--skeleton {checkpoint.skeleton} --input {_input(checkpoint)} --out {out}"
    )
    return place


def _input(checkpoint: TeacherCheckpoint) -> str:
    return f"{checkpoint.input[0]}x{checkpoint.input[1]}"


def _score(checkpoint: TeacherCheckpoint | BackboneCheckpoint) -> str:
    if isinstance(checkpoint, BackboneCheckpoint):
        return f"{checkpoint.score} (COCO val2017, annotated boxes)"
    where = "COCO val2017, boxes of a detector" if checkpoint.skeleton == "coco17" else "MPII val"
    return f"{checkpoint.score} ({where}, flip averaging)"
