"""The datasets that `data fetch` offers: where their archives lie, how they are recognised, to which folders they belong."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipeline.common.errors import UserError
from pipeline.networks.published import COCO_TERMS, MMPOSE_URL, MPII_TERMS

COCO = "http://images.cocodataset.org/"
MPII = "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/"


class Named(Protocol):
    """Whatever has a name."""

    @property
    def name(self) -> str: ...


NamedEntry = TypeVar("NamedEntry", bound=Named)


@dataclass(frozen=True)
class Archive:
    """A packed file of a dataset: a complete folder of images, or annotation files, that belong into `folder`."""

    address: str
    folder: str
    """Folder below data/, as params/coco-mpii.yaml has it."""
    image_folder: str = ""
    """Name of the folder inside whose content becomes `folder`."""
    files: tuple[str, ...] = ()
    """Names of the files that are unpacked, in whatever folder they lie inside."""
    sha256: str = ""
    """Hex digest; empty where nobody published one. Zip and gzip then have checksums of their own. A plain tar has none for its
    content: its JSON files must at least parse."""
    size: int | None = None
    """Bytes, where they are published."""

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.address.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Dataset:
    """A dataset by name, with its web page, its terms of use and its archives."""

    name: str
    page: str
    terms: str
    archives: tuple[Archive, ...] = ()
    manual_files: tuple[str, ...] = ()
    """Files below data/ that must be downloaded manually."""
    hint: str = ""
    """What else is needed."""


DATASETS = (
    Dataset(
        "coco",
        "https://cocodataset.org/#download",
        COCO_TERMS,
        (  # sizes and hashes: the checksum list of TensorFlow Datasets
            Archive(
                COCO + "annotations/annotations_trainval2017.zip",
                "coco/annotations",
                files=("person_keypoints_train2017.json", "person_keypoints_val2017.json"),
                sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                size=252_907_541,
            ),
            Archive(
                COCO + "zips/val2017.zip",
                "coco/val2017",
                image_folder="val2017",
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                size=815_585_330,
            ),
            Archive(
                COCO + "zips/train2017.zip",
                "coco/train2017",
                image_folder="train2017",
                sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                size=19_336_861_798,
            ),
        ),
    ),
    Dataset(
        "mpii",
        "http://human-pose.mpi-inf.mpg.de/#download",
        MPII_TERMS,
        (
            Archive(
                MMPOSE_URL + "datasets/mpii_annotations.tar",
                "mpii/annotations",
                files=("mpii_train.json", "mpii_val.json", "mpii_gt_val.mat"),
            ),
            Archive(
                MPII + "mpii_human_pose_v1_u12_2.zip",
                "mpii/annotations",
                files=("mpii_human_pose_v1_u12_1.mat",),
            ),
            Archive(MPII + "mpii_human_pose_v1.tar.gz", "mpii/images", image_folder="images"),
        ),
    ),
    Dataset(
        "halpe",
        "https://github.com/Fang-Haoshu/Halpe-FullBody",
        "Halpe-FullBody: see its page",
        manual_files=("halpe/annotations/halpe_val_v1.json",),
        hint="its validation images are COCO's: `pipeline data fetch coco`",
    ),
)


def entry_named(name: str, entries: Sequence[NamedEntry], kind: str) -> NamedEntry:
    """The entry of that name. Raises UserError with the nearest name, or all names, for one that is not offered."""
    known = {entry.name: entry for entry in entries}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean `{near[0]}`?" if near else "known are " + ", ".join(known)
        raise UserError(f"unknown {kind} `{name}`: {hint}")
    return known[name]
