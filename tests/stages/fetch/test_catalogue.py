"""The catalogue against what its makers list and what the project can use."""

import re
from typing import get_args

import pytest

from pipeline.networks.architectures import ARCHITECTURES, architecture_kind
from pipeline.networks.published import BACKBONE_CHECKPOINTS, TEACHER_CHECKPOINTS
from pipeline.pose.options import Network
from pipeline.pose.skeletons import skeleton_named
from stages.fetch.catalogue import DATASETS
from stages.project.project import load_project
from tests.closure import ROOT

BY_NAME = {checkpoint.name: checkpoint for checkpoint in TEACHER_CHECKPOINTS}
DATA = {dataset.name: dataset for dataset in DATASETS}
HOSTS = (
    "https://download.openmmlab.com/mmpose/",
    "http://images.cocodataset.org/",
    "https://datasets.d2.mpi-inf.mpg.de/",
)


def test_the_teachers_of_the_paper():
    coco, mpii = BY_NAME["rtmpose-m-coco"], BY_NAME["rtmpose-m-mpii"]
    base = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/"
    assert coco.address == base + "rtmpose-m_simcc-coco_pt-aic-coco_420e-256x192-d8dd5ca4_20230127.pth"
    assert mpii.address == base + "rtmpose-m_simcc-mpii_pt-aic-coco_210e-256x256-ec4dbec8_20230206.pth"
    assert (coco.sha256, coco.score, coco.arch, coco.skeleton, coco.input) == (
        "d8dd5ca4",
        "AP 0.746",
        "rtmpose-m",
        "coco17",
        (256, 192),
    )
    assert (mpii.sha256, mpii.score, mpii.arch, mpii.skeleton, mpii.input) == (
        "ec4dbec8",
        "PCKh@0.5 0.907, PCKh@0.1 0.348",
        "rtmpose-m",
        "mpii16",
        (256, 256),
    )


HASHES = {
    "rtmpose-t-coco": "e613ba3f",
    "rtmpose-s-coco": "8edcf0d7",
    "rtmpose-m-coco": "d8dd5ca4",
    "rtmpose-l-coco": "1352a4d2",
    "rtmpose-m-mpii": "ec4dbec8",
    "hrnet-w32-coco": "81c58e40",
    "hrnet-w48-coco": "0e67c616",
    "resnet-50-coco": "04af38ce",
    "resnet-101-coco": "065d3625",
    "hrnet-w32-mpii": "6c4f923f",
    "hrnet-w48-mpii": "92cab7bd",
    "resnet-50-mpii": "418ffc88",
    "resnet-101-mpii": "416f5d71",
}


def test_all_checkpoints_with_the_first_digits_of_their_hashes():
    assert {checkpoint.name: checkpoint.sha256 for checkpoint in TEACHER_CHECKPOINTS} == HASHES
    assert len(BY_NAME) == len(TEACHER_CHECKPOINTS)


@pytest.mark.parametrize("checkpoint", TEACHER_CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_a_checkpoint_is_what_its_file_name_says(checkpoint):
    found = re.search(r"(\d+)x(\d+)-[0-9a-f]{8}_\d{8}\.pth$", checkpoint.file)
    assert checkpoint.input == (int(found[1]), int(found[2]))
    assert ("mpii" in checkpoint.file) == (checkpoint.skeleton == "mpii16") == checkpoint.name.endswith("-mpii")
    assert ("non-commercial" in checkpoint.terms) == (checkpoint.skeleton == "mpii16")
    assert checkpoint.address.startswith(HOSTS[0])
    assert skeleton_named(checkpoint.skeleton)
    assert checkpoint.arch in ARCHITECTURES
    assert checkpoint.name.startswith(checkpoint.arch + "-") and checkpoint.score
    assert checkpoint.kind == architecture_kind(checkpoint.arch)


def test_no_two_files_have_one_name():
    archives = [archive for data in DATASETS for archive in data.archives]
    files = [entry.file for entry in (*TEACHER_CHECKPOINTS, *BACKBONE_CHECKPOINTS, *archives)]
    assert len(set(files)) == len(files) == 22
    names = [entry.name for entry in (*TEACHER_CHECKPOINTS, *BACKBONE_CHECKPOINTS)]
    assert len(set(names)) == len(names)


def test_the_backbones_of_the_papers_students():
    """As RTMPose's own configurations of these sizes name them."""
    base = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/cspnext-"
    assert [(s.name, s.network, s.address, s.sha256, s.score) for s in BACKBONE_CHECKPOINTS] == [
        (
            "cspnext-t",
            "rtmpose-t",
            base + "tiny_udp-aic-coco_210e-256x192-cbed682d_20230130.pth",
            "cbed682d",
            "AP 0.655",
        ),
        ("cspnext-s", "rtmpose-s", base + "s_udp-aic-coco_210e-256x192-92f5a029_20230130.pth", "92f5a029", "AP 0.700"),
        ("cspnext-m", "rtmpose-m", base + "m_udp-aic-coco_210e-256x192-f2f7d6f6_20230130.pth", "f2f7d6f6", "AP 0.748"),
    ]
    assert {backbone.network for backbone in BACKBONE_CHECKPOINTS} == set(get_args(Network)) - {
        "pyramid",
        "efficientnet-lite0",
    }
    assert all("AI Challenger" in backbone.terms and "CC BY 4.0" in backbone.terms for backbone in BACKBONE_CHECKPOINTS)


def test_the_archives_bring_what_the_real_profile_reads():
    settings = load_project(ROOT / "params/coco-mpii.yaml").datasets
    brought = {f"data/{path}" for dataset in DATASETS for path in dataset.manual_files}
    for archive in (archive for dataset in DATASETS for archive in dataset.archives):
        brought |= {f"data/{archive.folder}"} if archive.image_folder else set()
        brought |= {f"data/{archive.folder}/{name}" for name in archive.files}
    read = set()
    for dataset in settings.values():
        for part in filter(None, (dataset.train, dataset.test)):
            read |= {part.images, f"{dataset.annotations}/{part.file}"}
            read |= {f"{dataset.annotations}/{part.truth}"} if part.truth else set()
    assert read - brought == set()
    assert brought - read == {"data/mpii/annotations/mpii_human_pose_v1_u12_1.mat"}  # for `format: mpii-release`


def test_archives_are_images_or_files_with_complete_hashes():
    for archive in (archive for dataset in DATASETS for archive in dataset.archives):
        assert bool(archive.image_folder) != bool(archive.files)
        assert re.fullmatch("[0-9a-f]{64}|", archive.sha256)
        assert archive.address.startswith(HOSTS)
    assert [archive.size for archive in DATA["coco"].archives] == [252_907_541, 815_585_330, 19_336_861_798]


def test_terms_and_halpe():
    assert "non-commercial" in DATA["mpii"].terms
    assert DATA["halpe"].archives == ()
    assert DATA["halpe"].page == "https://github.com/Fang-Haoshu/Halpe-FullBody"
