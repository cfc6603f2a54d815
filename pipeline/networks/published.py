"""The published checkpoints that `teacher fetch` offers: their addresses, hashes, scores and terms of use.

Scores are those that MMPose publishes, with flip averaging: on COCO val2017 with the boxes of the person detector of AP 56.4, and on
MPII val. Scores of backbones are on COCO val2017 with annotated boxes, without flip averaging.
"""

from dataclasses import dataclass

MMPOSE_URL = "https://download.openmmlab.com/mmpose/"
RTMPOSE_URL = MMPOSE_URL + "v1/projects/rtmposev1/"
HEATMAP_COCO_URL = MMPOSE_URL + "v1/body_2d_keypoint/topdown_heatmap/coco/"

COCO_TERMS = "COCO: annotations under CC BY 4.0, images under the terms of Flickr (cocodataset.org/#termsofuse)"
MPII_TERMS = "MPII: for non-commercial research only (human-pose.mpi-inf.mpg.de)"
WEIGHTS_TERMS = {
    "coco17": f"weights by MMPose, Apache-2.0; {COCO_TERMS}",
    "mpii16": f"weights by MMPose, Apache-2.0, learned from MPII; {MPII_TERMS}",
}

BACKBONE_TERMS = f"weights by MMPose, Apache-2.0, learned from AI Challenger and COCO; {COCO_TERMS}"


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A file of weights that its maker published."""

    name: str
    """Name for `pipeline teacher fetch`."""
    address: str
    score: str
    """The score that the maker publishes, with its metric."""

    @property
    def file(self) -> str:
        """Name of the file, from its address."""
        return self.address.rsplit("/", 1)[1]

    @property
    def sha256(self) -> str:
        """The first eight hexadecimal digits of the file's sha256, which stand before the date in its name."""
        return self.file.rsplit("-", 1)[1].split("_")[0]


@dataclass(frozen=True)
class TeacherCheckpoint(PublishedCheckpoint):
    """A checkpoint of a teacher. Its fields are the options of `pipeline teacher import`."""

    arch: str
    skeleton: str
    input: tuple[int, int]
    """Height and width in pixels."""

    @property
    def kind(self) -> str:
        """Kind of its output: `kind` of the teacher's entry in params.yaml."""
        return "simcc" if self.arch.startswith("rtmpose-") else "heatmap"

    @property
    def terms(self) -> str:
        """Terms of use of the weights and of the data they were trained on."""
        return WEIGHTS_TERMS[self.skeleton]


@dataclass(frozen=True)
class BackboneCheckpoint(PublishedCheckpoint):
    """A checkpoint whose backbone can initialise a student's. Its heatmap head for COCO is not used, so it is no teacher."""

    network: str
    """The `distill.network` that has this backbone."""

    @property
    def terms(self) -> str:
        """Terms of use of the weights and of the data they were trained on."""
        return BACKBONE_TERMS


def _rtmpose(size: str, file: str, ap: str) -> TeacherCheckpoint:
    return TeacherCheckpoint(
        f"rtmpose-{size}-coco", RTMPOSE_URL + file, f"AP {ap}", f"rtmpose-{size}", "coco17", (256, 192)
    )


def _coco(arch: str, file: str, ap: str) -> TeacherCheckpoint:
    return TeacherCheckpoint(f"{arch}-coco", HEATMAP_COCO_URL + file, f"AP {ap}", arch, "coco17", (256, 192))


def _mpii(arch: str, address: str, half: str, tenth: str | None) -> TeacherCheckpoint:
    score = f"PCKh@0.5 {half}" + (f", PCKh@0.1 {tenth}" if tenth else "")
    return TeacherCheckpoint(f"{arch}-mpii", address, score, arch, "mpii16", (256, 256))


def _backbone(network: str, file: str, ap: str) -> BackboneCheckpoint:
    return BackboneCheckpoint(network.replace("rtmpose", "cspnext"), RTMPOSE_URL + file, f"AP {ap}", network)


TEACHER_CHECKPOINTS = (
    _rtmpose("t", "rtmpose-tiny_simcc-coco_pt-aic-coco_420e-256x192-e613ba3f_20230127.pth", "0.682"),
    _rtmpose("s", "rtmpose-s_simcc-coco_pt-aic-coco_420e-256x192-8edcf0d7_20230127.pth", "0.716"),
    _rtmpose("m", "rtmpose-m_simcc-coco_pt-aic-coco_420e-256x192-d8dd5ca4_20230127.pth", "0.746"),
    _rtmpose("l", "rtmpose-l_simcc-coco_pt-aic-coco_420e-256x192-1352a4d2_20230127.pth", "0.758"),
    _mpii(
        "rtmpose-m",
        RTMPOSE_URL + "rtmpose-m_simcc-mpii_pt-aic-coco_210e-256x256-ec4dbec8_20230206.pth",
        "0.907",
        "0.348",
    ),
    _coco("hrnet-w32", "td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", "0.749"),
    _coco("hrnet-w48", "td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth", "0.756"),
    _coco("resnet-50", "td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth", "0.718"),
    _coco("resnet-101", "td-hm_res101_8xb64-210e_coco-256x192-065d3625_20220926.pth", "0.728"),
    _mpii("hrnet-w32", MMPOSE_URL + "top_down/hrnet/hrnet_w32_mpii_256x256-6c4f923f_20200812.pth", "0.900", "0.334"),
    _mpii("hrnet-w48", MMPOSE_URL + "top_down/hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth", "0.901", "0.337"),
    _mpii("resnet-50", MMPOSE_URL + "top_down/resnet/res50_mpii_256x256-418ffc88_20200812.pth", "0.882", None),
    _mpii("resnet-101", MMPOSE_URL + "top_down/resnet/res101_mpii_256x256-416f5d71_20200812.pth", "0.888", None),
)

BACKBONE_CHECKPOINTS = (
    _backbone("rtmpose-t", "cspnext-tiny_udp-aic-coco_210e-256x192-cbed682d_20230130.pth", "0.655"),
    _backbone("rtmpose-s", "cspnext-s_udp-aic-coco_210e-256x192-92f5a029_20230130.pth", "0.700"),
    _backbone("rtmpose-m", "cspnext-m_udp-aic-coco_210e-256x192-f2f7d6f6_20230130.pth", "0.748"),
)
