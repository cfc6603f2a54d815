"""The published checkpoints and archives that `fetch` offers: where they lie, what they must be, what they scored. Data only.

Scores are the makers': COCO val2017 with the boxes of the person detector of AP 56.4, MPII val; flip averaging in both. Those of
starts are on COCO val2017 with annotated boxes, without flip averaging.
"""

from dataclasses import dataclass

MMPOSE = "https://download.openmmlab.com/mmpose/"
RTMPOSE = MMPOSE + "v1/projects/rtmposev1/"
HEATMAP_COCO = MMPOSE + "v1/body_2d_keypoint/topdown_heatmap/coco/"
COCO = "http://images.cocodataset.org/"
MPII = "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/"

COCO_TERMS = "COCO: annotations under CC BY 4.0, pictures under the terms of Flickr (cocodataset.org/#termsofuse)"
MPII_TERMS = "MPII: for non-commercial research only (human-pose.mpi-inf.mpg.de)"
WEIGHTS_TERMS = {
    "coco17": f"weights by MMPose, Apache-2.0; {COCO_TERMS}",
    "mpii16": f"weights by MMPose, Apache-2.0, learned from MPII; {MPII_TERMS}",
}

START_TERMS = f"weights by MMPose, Apache-2.0, learned from AI Challenger and COCO; {COCO_TERMS}"


@dataclass(frozen=True)
class Published:
    """Weights as their maker published them."""

    name: str
    address: str
    score: str
    """The maker's."""

    @property
    def file(self) -> str:
        return self.address.rsplit("/", 1)[1]

    @property
    def sha256(self) -> str:
        """The first eight hex digits of the file's sha256, which its maker put before the date in its name."""
        return self.file.rsplit("-", 1)[1].split("_")[0]


@dataclass(frozen=True)
class Checkpoint(Published):
    """Those of a teacher; the fields are what `pipeline teacher import` asks for."""

    arch: str
    skeleton: str
    input: tuple[int, int]
    """Height, width in pixels."""

    @property
    def kind(self) -> str:
        """What a teacher made of it says: `kind` of its entry in params.yaml."""
        return "simcc" if self.arch.startswith("rtmpose-") else "heatmap"

    @property
    def terms(self) -> str:
        return WEIGHTS_TERMS[self.skeleton]


@dataclass(frozen=True)
class Start(Published):
    """Those of a backbone, under a heatmap head for COCO that is not wanted: no teacher, but where a student may start."""

    network: str
    """`distill.network` of the students that have such a backbone."""

    @property
    def terms(self) -> str:
        return START_TERMS


@dataclass(frozen=True)
class Archive:
    """A packed file of a dataset: a whole folder of pictures, or some annotation files, that belong into `folder`."""

    address: str
    folder: str
    """Below data/, as params/coco-mpii.yaml has it."""
    pictures: str = ""
    """Name of the folder inside whose content becomes `folder`."""
    files: tuple[str, ...] = ()
    """Names of the files that are wanted, in whatever folder they lie inside."""
    sha256: str = ""
    """Empty where nobody published one: zip and gzip then have checksums of their own. A plain tar has none for what is inside:
    there, and wherever this is empty, the JSON files must at least parse."""
    size: int | None = None
    """Bytes."""

    @property
    def file(self) -> str:
        return self.address.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Dataset:
    name: str
    page: str
    terms: str
    archives: tuple[Archive, ...] = ()
    by_hand: tuple[str, ...] = ()
    """Files below data/ that no address leads to."""
    hint: str = ""
    """What else its user has to know."""


def _rtmpose(size: str, file: str, ap: str) -> Checkpoint:
    return Checkpoint(f"rtmpose-{size}-coco", RTMPOSE + file, f"AP {ap}", f"rtmpose-{size}", "coco17", (256, 192))


def _coco(arch: str, file: str, ap: str) -> Checkpoint:
    return Checkpoint(f"{arch}-coco", HEATMAP_COCO + file, f"AP {ap}", arch, "coco17", (256, 192))


def _mpii(arch: str, address: str, half: str, tenth: str | None) -> Checkpoint:
    score = f"PCKh@0.5 {half}" + (f", PCKh@0.1 {tenth}" if tenth else "")
    return Checkpoint(f"{arch}-mpii", address, score, arch, "mpii16", (256, 256))


def _start(network: str, file: str, ap: str) -> Start:
    return Start(network.replace("rtmpose", "cspnext"), RTMPOSE + file, f"AP {ap}", network)


CHECKPOINTS = (
    _rtmpose("t", "rtmpose-tiny_simcc-coco_pt-aic-coco_420e-256x192-e613ba3f_20230127.pth", "0.682"),
    _rtmpose("s", "rtmpose-s_simcc-coco_pt-aic-coco_420e-256x192-8edcf0d7_20230127.pth", "0.716"),
    _rtmpose("m", "rtmpose-m_simcc-coco_pt-aic-coco_420e-256x192-d8dd5ca4_20230127.pth", "0.746"),
    _rtmpose("l", "rtmpose-l_simcc-coco_pt-aic-coco_420e-256x192-1352a4d2_20230127.pth", "0.758"),
    _mpii(
        "rtmpose-m", RTMPOSE + "rtmpose-m_simcc-mpii_pt-aic-coco_210e-256x256-ec4dbec8_20230206.pth", "0.907", "0.348"
    ),
    _coco("hrnet-w32", "td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", "0.749"),
    _coco("hrnet-w48", "td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth", "0.756"),
    _coco("resnet-50", "td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth", "0.718"),
    _coco("resnet-101", "td-hm_res101_8xb64-210e_coco-256x192-065d3625_20220926.pth", "0.728"),
    _mpii("hrnet-w32", MMPOSE + "top_down/hrnet/hrnet_w32_mpii_256x256-6c4f923f_20200812.pth", "0.900", "0.334"),
    _mpii("hrnet-w48", MMPOSE + "top_down/hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth", "0.901", "0.337"),
    _mpii("resnet-50", MMPOSE + "top_down/resnet/res50_mpii_256x256-418ffc88_20200812.pth", "0.882", None),
    _mpii("resnet-101", MMPOSE + "top_down/resnet/res101_mpii_256x256-416f5d71_20200812.pth", "0.888", None),
)

STARTS = (
    _start("rtmpose-t", "cspnext-tiny_udp-aic-coco_210e-256x192-cbed682d_20230130.pth", "0.655"),
    _start("rtmpose-s", "cspnext-s_udp-aic-coco_210e-256x192-92f5a029_20230130.pth", "0.700"),
    _start("rtmpose-m", "cspnext-m_udp-aic-coco_210e-256x192-f2f7d6f6_20230130.pth", "0.748"),
)

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
                pictures="val2017",
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                size=815_585_330,
            ),
            Archive(
                COCO + "zips/train2017.zip",
                "coco/train2017",
                pictures="train2017",
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
                MMPOSE + "datasets/mpii_annotations.tar",
                "mpii/annotations",
                files=("mpii_train.json", "mpii_val.json", "mpii_gt_val.mat"),
            ),
            Archive(
                MPII + "mpii_human_pose_v1_u12_2.zip",
                "mpii/annotations",
                files=("mpii_human_pose_v1_u12_1.mat",),
            ),
            Archive(MPII + "mpii_human_pose_v1.tar.gz", "mpii/images", pictures="images"),
        ),
    ),
    Dataset(
        "halpe",
        "https://github.com/Fang-Haoshu/Halpe-FullBody",
        "Halpe-FullBody: see its page",
        by_hand=("halpe/annotations/halpe_val_v1.json",),
        hint="its validation pictures are COCO's: `pipeline data fetch coco`",
    ),
)
