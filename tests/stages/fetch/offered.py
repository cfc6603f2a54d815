"""A small catalogue and its files, as a server on localhost offers them in place of the makers' hosts."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.common.errors import UserError
from pipeline.networks import published
from pipeline.networks.published import BackboneCheckpoint, TeacherCheckpoint
from stages.fetch import catalogue
from stages.fetch.catalogue import Archive, Dataset


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


WEIGHTS = b"weights" * 1000
PREFIX = hashlib.sha256(WEIGHTS).hexdigest()[:8]
FILE = f"rtmpose-m_256x192-{PREFIX}_20230127.pth"
BACKBONE_FILE = f"cspnext-s_udp-{PREFIX}_20230130.pth"
COCO_ANNOTATIONS = zipped({f"annotations/{name}.json": f'"{name}"'.encode() for name in ("instances", "train", "val")})
COCO_IMAGES = zipped({"val2017/": b"", "val2017/1.jpg": b"one", "__MACOSX/val2017/._1.jpg": b"junk"})
MPII_ANNOTATIONS, MPII_IMAGES = "/mmpose/datasets/mpii.tar", "/mpii/pictures.tar.gz"
SERVED = {
    f"/mmpose/v1/{FILE}": WEIGHTS,
    f"/mmpose/v1/{BACKBONE_FILE}": WEIGHTS,
    "/annotations/coco.zip": COCO_ANNOTATIONS,
    "/zips/val2017.zip": COCO_IMAGES,
    MPII_ANNOTATIONS: tarred({"mpii/mpii_train.json": b"[]", "mpii/mpii_gt_val.mat": b"mat"}, "w"),
    MPII_IMAGES: tarred({"images/7.jpg": b"seven", "images/8.jpg": b"eight"}, "w:gz"),
}
"""Content of the files by their paths on the server."""

TEACHERS = (
    TeacherCheckpoint(
        "rtmpose-m-coco", f"https://weights.invalid/mmpose/v1/{FILE}", "AP 0.746", "rtmpose-m", "coco17", (256, 192)
    ),
)
BACKBONES = (
    BackboneCheckpoint("cspnext-s", f"https://weights.invalid/mmpose/v1/{BACKBONE_FILE}", "AP 0.700", "rtmpose-s"),
)
COCO = Dataset(
    "coco",
    "https://page.invalid",
    "terms of COCO",
    (
        Archive("http://coco.invalid/annotations/coco.zip", "coco/annotations", files=("train.json", "val.json")),
        Archive(
            "http://coco.invalid/zips/val2017.zip",
            "coco/val2017",
            image_folder="val2017",
            sha256=hashlib.sha256(COCO_IMAGES).hexdigest(),
            size=len(COCO_IMAGES),
        ),
    ),
)
MPII = Dataset(
    "mpii",
    "https://page.invalid",
    "terms of MPII",
    (
        Archive(
            "https://weights.invalid" + MPII_ANNOTATIONS,
            "mpii/annotations",
            files=("mpii_train.json", "mpii_gt_val.mat"),
        ),
        Archive("https://mpii.invalid" + MPII_IMAGES, "mpii/images", image_folder="images"),
    ),
)


def offer(patch: pytest.MonkeyPatch) -> None:
    """Put this catalogue in the place of the real one, except for Halpe, which has no archives."""
    patch.setattr(published, "TEACHER_CHECKPOINTS", TEACHERS)
    patch.setattr(published, "BACKBONE_CHECKPOINTS", BACKBONES)
    halpe = [dataset for dataset in catalogue.DATASETS if dataset.name == "halpe"]
    patch.setattr(catalogue, "DATASETS", (COCO, MPII, *halpe))


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """The error message of a call."""
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder, except locks, by their paths there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
