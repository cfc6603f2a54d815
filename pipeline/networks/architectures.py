"""The published top-down networks by name, and the input that MMPose trained each with."""

from torch import nn

from pipeline.common.errors import UserError
from pipeline.networks.hrnet import HRNet
from pipeline.networks.resnet import PoseResNet
from pipeline.networks.rtmpose import RTMPose
from pipeline.pose.options import Kind
from pipeline.pose.skeletons import Skeleton
from pipeline.pose.spec import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec

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
"""Input sides are multiples of this many pixels."""

PUBLISHED_PADDING = 1.25
"""Factor by which MMPose enlarges a person's box."""


def build_architecture(name: str, keypoints: int, input_wh: tuple[int, int]) -> nn.Module:
    """Build the network in training mode; UserError for an unknown name or an input size that it cannot have.

    It takes crops (B, 3, H, W). `rtmpose-*` gives raw scores of x (B, K, 2W) and of y (B, K, 2H), the others heatmaps
    (B, K, H/4, W/4). Weights are drawn from torch's global random stream.
    """
    _refuse_unknown(name)
    refuse_input_size(name, input_wh)
    family, size = name.split("-")
    if family == "rtmpose":
        return RTMPose(size, keypoints, input_wh)
    if family == "hrnet":
        return HRNet(int(size.removeprefix("w")), keypoints)
    return PoseResNet(int(size), keypoints)


def published_spec(name: str, skeleton: Skeleton, input_wh: tuple[int, int]) -> NetworkSpec:
    """Return the spec that MMPose trained the architecture with: ImageNet's statistics in RGB, padding 1.25, the classic affine."""
    _refuse_unknown(name)
    return NetworkSpec(
        skeleton=skeleton,
        input_wh=input_wh,
        color="rgb",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        padding=PUBLISHED_PADDING,
        affine="classic",
        kind=architecture_kind(name),
    )


def architecture_kind(name: str) -> Kind:
    """Return the kind of output of an architecture of that name."""
    return "simcc" if name.startswith("rtmpose-") else "heatmap"


def refuse_input_size(name: str, input_wh: tuple[int, int]) -> None:
    """UserError unless both sides are multiples of STRIDE; `name` is the architecture's, for the message."""
    if any(side < STRIDE or side % STRIDE for side in input_wh):
        raise UserError(
            f"{name}: expected an input whose height and width are multiples of {STRIDE}, found {input_wh[1]}x{input_wh[0]}"
        )


def _refuse_unknown(name: str) -> None:
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture `{name}`: expected one of {', '.join(ARCHITECTURES)}")
