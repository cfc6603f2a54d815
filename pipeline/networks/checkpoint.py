"""Loads published weights into the project's networks, whole or the backbone alone, and finds the architecture that they fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.networks.architectures import ARCHITECTURES, architecture_kind, build_architecture
from pipeline.networks.checkpoint_reader import few_names, read_state_dict
from pipeline.networks.cspnext import CSPNeXt
from pipeline.networks.efficientnet import EfficientNetPose, published_names
from pipeline.networks.rtmpose import BINS_PER_PIXEL, SIZES, RTMPose
from pipeline.pose.skeletons import SKELETONS

IGNORED_PREFIXES = ("data_preprocessor.",)
"""Beginnings of names that MMPose's files hold beside the network: constants of its input pipeline."""

BACKBONE_PREFIX = "backbone."
"""Beginning of the names of the backbone's weights, under any head."""

RTMPOSE_SIZES = {f"rtmpose-{size}": size for size in SIZES}

MAX_KEYPOINTS, MAX_SIDE = 1024, 4096
"""Limits on the keypoints and on the pixels per side, larger than any published network's. A tensor in a file of a few bytes can
claim any shape."""


def load_into(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path, name: str) -> None:
    """Copy the weights into the network. `path`, the file they are from, and the network's `name` are for the messages.

    UserError tells which names are missing, unexpected or of another shape, and which architecture the weights fit instead.
    """
    loadable = _without_ignored(weights)
    problems = _differences(network.state_dict(), loadable)
    if problems:
        raise UserError(f"{path}: does not fit {name}: {'; '.join(problems)}: {_advice(loadable)}")
    _refuse_broken(loadable, path)
    network.load_state_dict(loadable, strict=False)


def load_backbone(network: RTMPose | EfficientNetPose, path: Path, name: str) -> None:
    """Copy the backbone of a published checkpoint, a CSPNeXt under any head, a whole RTMPose or an
    EfficientNet-Lite0, into the network's backbone.

    The checkpoint's head is not loaded, because a student has keypoints of its own. The network's `name` is for the messages.
    UserError, as from `read_state_dict` and `load_into`, for a file that is no checkpoint, or whose backbone is missing or of
    another size.
    """
    weights = read_state_dict(path)
    backbone = _backbone(weights) if isinstance(network, RTMPose) else published_names(weights)
    if not backbone:
        raise UserError(
            f"{path}: expected weights under `{BACKBONE_PREFIX}*`, found none: take a checkpoint of CSPNeXt or RTMPose"
        )
    problems = _differences(network.backbone.state_dict(), backbone)
    if problems:
        match = match_backbone(backbone)
        advice = f"it is {match}'s" if match else f"it is none of {', '.join(RTMPOSE_SIZES)}: take another file"
        raise UserError(f"{path}: its backbone does not fit {name}: {'; '.join(problems)}: {advice}")
    _refuse_broken(backbone, path)
    network.backbone.load_state_dict(backbone, strict=False)


@dataclass(frozen=True)
class ArchitectureMatch:
    """An architecture that weights fit."""

    name: str
    keypoints: int
    input_wh: tuple[int, int] | None
    """Width and height of the input in pixels; None where the weights fit any input."""


def match_architecture(weights: Mapping[str, torch.Tensor]) -> ArchitectureMatch | None:
    """Return the architecture with these names and shapes, and the number of keypoints and the input size that follow from the shapes."""
    loadable = _without_ignored(weights)
    final = loadable.get("head.final_layer.weight")
    if final is None or final.ndim != 4 or not 1 <= final.shape[0] <= MAX_KEYPOINTS:
        return None
    bins = [
        loadable[axis].shape[0]
        for axis in ("head.cls_x.weight", "head.cls_y.weight")
        if axis in loadable and loadable[axis].ndim
    ]
    if any(count > MAX_SIDE * BINS_PER_PIXEL for count in bins):
        return None
    for name in ARCHITECTURES:
        simcc = architecture_kind(name) == "simcc"
        if simcc != (len(bins) == 2):
            continue
        input_wh = (bins[0] // BINS_PER_PIXEL, bins[1] // BINS_PER_PIXEL) if simcc else None
        try:
            with torch.device("meta"):
                network = build_architecture(name, final.shape[0], input_wh or (32, 32))
        except UserError:
            return None
        if not _differences(network.state_dict(), loadable):
            return ArchitectureMatch(name, final.shape[0], input_wh)
    return None


def match_backbone(weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return the `rtmpose-*` whose backbone has these names and shapes; the names are given without `backbone.`."""
    for name, size in RTMPOSE_SIZES.items():
        with torch.device("meta"):
            backbone = CSPNeXt(*SIZES[size])
        if not _differences(backbone.state_dict(), weights):
            return name
    return None


def _without_ignored(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith(IGNORED_PREFIXES)}


def _backbone(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(BACKBONE_PREFIX): value for name, value in weights.items() if name.startswith(BACKBONE_PREFIX)
    }


def _refuse_broken(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """UserError where weights are NaN or infinite."""
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(
            f"{path}: holds NaN or infinite weights in {few_names(broken)}: fetch the file again, or take another one"
        )


def _differences(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Return descriptions of the names and shapes that do not fit.

    The counters of batch norms may be absent, because they are not used.
    """
    missing = [name for name in expected if name not in weights and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in weights if name not in expected]
    shapes = [
        f"{name} is {list(weights[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [f"{len(names)} {kind} ({few_names(names)})" for kind, names in kinds if names]


def _advice(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a message that tells what the weights fit instead."""
    match = match_architecture(weights)
    if match is None:
        backbone = match_backbone(_backbone(weights))
        start = f"; its backbone, {backbone}'s, can initialise a student's (`distill.start`)" if backbone else ""
        return f"nor does it fit any other of {', '.join(ARCHITECTURES)}: take another file{start}"
    skeletons = [name for name, skeleton in SKELETONS.items() if len(skeleton) == match.keypoints]
    named = f" ({', '.join(skeletons)})" if skeletons else ""
    size = "" if match.input_wh is None else f" --input {match.input_wh[1]}x{match.input_wh[0]}"
    return f"it fits `--arch {match.name}{size}` with a skeleton of {match.keypoints} keypoints{named}"
