"""The published top-down networks by name, and what each was trained to see. How they are built is in the modules beside it."""

from torch import nn

from pipeline.errors import UserError
from pipeline.networks.hrnet import HRNet
from pipeline.networks.resnet import PoseResNet
from pipeline.networks.rtmpose import RTMPose
from pipeline.skeletons import Skeleton
from pipeline.spec import IMAGENET_MEAN, IMAGENET_STD, Kind, NetworkSpec

ARCHITECTURES = (
    "rtmpose-t",
    "rtmpose-s",
    "rtmpose-m",
    "rtmpose-l",
    "hrnet-w32",
    "hrnet-w48",
    "resnet-50",
    "resnet-101",
)

STRIDE = 32
"""Input sides are multiples of this."""

PADDING = 1.25


def architecture(name: str, keypoints: int, input_wh: tuple[int, int]) -> nn.Module:
    """The network in training mode, weights from torch's global stream; UserError for another name or input.

    Crops (B, 3, H, W) to raw scores x (B, K, 2W) and y (B, K, 2H) for `rtmpose-*`, to heatmaps (B, K, H/4, W/4) for the others.
    """
    _refuse_unknown(name)
    refuse_input(name, input_wh)
    family, size = name.split("-")
    if family == "rtmpose":
        return RTMPose(size, keypoints, input_wh)
    if family == "hrnet":
        return HRNet(int(size.removeprefix("w")), keypoints)
    return PoseResNet(int(size), keypoints)


def published_spec(name: str, skeleton: Skeleton, input_wh: tuple[int, int]) -> NetworkSpec:
    """What MMPose trained the architecture with: ImageNet's statistics in RGB, padding 1.25, the classic affine."""
    _refuse_unknown(name)
    return NetworkSpec(
        skeleton=skeleton,
        input_wh=input_wh,
        color="rgb",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        padding=PADDING,
        affine="classic",
        kind=kind_of(name),
    )


def kind_of(name: str) -> Kind:
    """What an architecture of that name says."""
    return "simcc" if name.startswith("rtmpose-") else "heatmap"


def refuse_input(name: str, input_wh: tuple[int, int]) -> None:
    """UserError unless both sides are multiples of STRIDE."""
    if any(side < STRIDE or side % STRIDE for side in input_wh):
        raise UserError(
            f"{name}: expected an input whose height and width are multiples of {STRIDE}, found {input_wh[1]}x{input_wh[0]}"
        )


def _refuse_unknown(name: str) -> None:
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture `{name}`: expected one of {', '.join(ARCHITECTURES)}")
