"""Weights out of other people's checkpoints, without running anything that is in them, and into our networks."""

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.networks.architectures import ARCHITECTURES, architecture, kind_of
from pipeline.networks.cspnext import CSPNeXt
from pipeline.networks.rtmpose import BINS_PER_PIXEL, SIZES, RTMPose
from pipeline.skeletons import SKELETONS

BESIDE = ("data_preprocessor.",)
"""Beginnings of names that MMPose's files carry beside the network: constants of its input pipeline."""

BACKBONE = "backbone."
"""Beginning of the names of what all heads share."""

SIZED = {f"rtmpose-{size}": size for size in SIZES}

DTYPES = frozenset(
    (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
)
"""What weights may be of. Of others, 8-bit floats say, torch cannot tell whether they are finite."""

MOST_KEYPOINTS, LONGEST_SIDE = 1024, 4096
"""More keypoints, and more pixels per side, than any published network has. In a file of a few bytes a tensor can claim any shape."""

SHOWN = 3


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name, on the CPU, from a file of `torch.save` in the zip or the older format.

    The file holds the weights alone or under `state_dict`. Names come without `module.`, and with `head.` where files of 2020
    say `keypoint_head.`. A checkpoint with `ema_state_dict` is taken at its `state_dict` all the same: MMEngine swaps the two
    when it saves, so `state_dict` holds the averaged weights (those of the published scores) and the other the raw ones.
    UserError, one line, for anything that is not a checkpoint, and for classes that are not allowed (`STAND_INS`).
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file: give the path of a checkpoint (.pth)")
    document = _load(path)
    weights = document.get("state_dict", document) if isinstance(document, dict) else document
    if not isinstance(weights, dict) or not any(isinstance(value, torch.Tensor) for value in weights.values()):
        keys = (
            f"a mapping with {_few(list(map(str, weights)))}" if isinstance(weights, dict) else type(weights).__name__
        )
        raise UserError(
            f"{path}: expected weights by name, alone or under `state_dict`, found {keys}: take another file"
        )
    strange = [str(name) for name, value in weights.items() if not (isinstance(name, str) and _is_plain(value))]
    if strange:
        raise UserError(
            f"{path}: expected dense tensors of integers or 16 to 64-bit floats, found others under {_few(strange)}: take another file"
        )
    return {_our_name(name): value.detach() for name, value in weights.items()}


def load_into(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path, name: str) -> None:
    """Copy the weights into the network. `path` is where they are from and `name` what the network is called, for the errors.

    UserError says which names are missing, unexpected or of another shape, and which of our architectures they would fit.
    """
    expected = network.state_dict()
    found = _of_network(weights)
    problems = _differences(expected, found)
    if problems:
        raise UserError(f"{path}: does not fit {name}: {'; '.join(problems)}: {_advice(found)}")
    _refuse_broken(found, path)
    network.load_state_dict(found, strict=False)


def start_from(network: RTMPose, path: Path, name: str) -> None:
    """Copy the backbone of a published checkpoint, of a CSPNeXt under any head or of a whole RTMPose, into the network's.

    Its head is left out, whichever it is: a student has keypoints of its own. `name` is what the network is called, for the errors.
    UserError, as from `read_state_dict` and `load_into`, for what is no checkpoint, holds no backbone or one of another size.
    """
    found = _backbone(read_state_dict(path))
    if not found:
        raise UserError(
            f"{path}: expected weights under `{BACKBONE}*`, found none: take a checkpoint of CSPNeXt or RTMPose"
        )
    problems = _differences(network.backbone.state_dict(), found)
    if problems:
        sized = backbone_of(found)
        advice = f"it is {sized}'s" if sized else f"it is none of {', '.join(SIZED)}: take another file"
        raise UserError(f"{path}: its backbone does not fit {name}: {'; '.join(problems)}: {advice}")
    _refuse_broken(found, path)
    network.backbone.load_state_dict(found, strict=False)


@dataclass(frozen=True)
class Fit:
    """An architecture that weights fit. `input_wh` is None where any input does."""

    name: str
    keypoints: int
    input_wh: tuple[int, int] | None


def fitting(weights: Mapping[str, torch.Tensor]) -> Fit | None:
    """The architecture whose names and shapes these are, with the number of keypoints and the input that follow from them."""
    found = _of_network(weights)
    final = found.get("head.final_layer.weight")
    if final is None or final.ndim != 4 or not 1 <= final.shape[0] <= MOST_KEYPOINTS:
        return None
    bins = [
        found[each].shape[0]
        for each in ("head.cls_x.weight", "head.cls_y.weight")
        if each in found and found[each].ndim
    ]
    if any(count > LONGEST_SIDE * BINS_PER_PIXEL for count in bins):
        return None
    for name in ARCHITECTURES:
        simcc = kind_of(name) == "simcc"
        if simcc != (len(bins) == 2):
            continue
        input_wh = (bins[0] // BINS_PER_PIXEL, bins[1] // BINS_PER_PIXEL) if simcc else None
        try:
            with torch.device("meta"):
                network = architecture(name, final.shape[0], input_wh or (32, 32))
        except UserError:
            return None
        if not _differences(network.state_dict(), found):
            return Fit(name, final.shape[0], input_wh)
    return None


def backbone_of(found: Mapping[str, torch.Tensor]) -> str | None:
    """The `rtmpose-*` whose backbone has these names and shapes, which come without `backbone.`."""
    for name, size in SIZED.items():
        with torch.device("meta"):
            backbone = CSPNeXt(*SIZES[size])
        if not _differences(backbone.state_dict(), found):
            return name
    return None


class _Ignored:
    """Takes the place of a class whose objects nobody here looks at: accepts what it is made of and keeps nothing."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _empty_dict(*parts: object) -> OrderedDict[object, object]:
    return OrderedDict()


def _empty_list(*parts: object) -> list[object]:
    return []


STAND_INS: tuple[tuple[Callable[..., object], str], ...] = (
    # Numbers and arrays of NumPy 1 and 2: a dataset's keypoint sigmas, colours, logged values.
    *(
        (_Ignored, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((_Ignored, f"numpy.{name}") for name in ("ndarray", "dtype", "bool_", "int64", "float32", "float64")),
    *((_Ignored, f"numpy.dtypes.{name}DType") for name in ("Bool", "Int32", "Int64", "Float32", "Float64")),
    # A training's logs. Their methods are written as getattr(HistoryBuffer, "mean"), so that is replaced as well.
    (_Ignored, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Ignored, "builtins.getattr"),
    # Configurations.
    *(
        (OrderedDict, name)
        for name in ("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict", "addict.addict.Dict")
    ),
    *((_Ignored, name) for name in ("mmengine.config.config.Config", "mmcv.utils.config.Config")),
    # Containers, and what a defaultdict may be made of.
    (_empty_dict, "collections.defaultdict"),
    (_empty_list, "collections.deque"),
    *((_Ignored, f"builtins.{name}") for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
)
"""What torch makes of the names, beside its own tensors, that published checkpoints contain: nothing of theirs is imported."""


def _load(path: Path) -> object:
    with path.open("rb") as stream:
        try:
            with torch.serialization.safe_globals(list(STAND_INS)), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document = torch.load(stream, map_location="cpu", weights_only=True)
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    if archive.testzip() is not None:  # torch does not look at the checksums
                        raise zipfile.BadZipFile
            return document
        except Exception as error:
            named = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
            if named:
                raise UserError(
                    f"{path}: contains `{_printable(named[1])}`, which is not among the types that published checkpoints carry: "
                    "refused, and nothing of it was run: save its state_dict alone, or take the file from its publisher"
                ) from error
            raise UserError(
                f"{path}: not a readable PyTorch checkpoint (truncated, damaged or another format): fetch the file again"
            ) from error


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in DTYPES
    )


def _our_name(name: str) -> str:
    name = name.removeprefix("module.")
    return "head." + name.removeprefix("keypoint_head.") if name.startswith("keypoint_head.") else name


def _of_network(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith(BESIDE)}


def _backbone(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(BACKBONE): value for name, value in weights.items() if name.startswith(BACKBONE)}


def _refuse_broken(found: Mapping[str, torch.Tensor], path: Path) -> None:
    broken = [each for each, value in found.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(
            f"{path}: holds NaN or infinite weights in {_few(broken)}: fetch the file again, or take another one"
        )


def _differences(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    """Phrases on names and shapes; none where they fit. Batch norm's counters may be absent: they are not used."""
    missing = [name for name in expected if name not in found and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in found if name not in expected]
    shapes = [
        f"{name} is {list(found[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds if names]


def _advice(weights: Mapping[str, torch.Tensor]) -> str:
    fit = fitting(weights)
    if fit is None:
        sized = backbone_of(_backbone(weights))
        start = f"; its backbone alone, {sized}'s, is a start for a student (`distill.start`)" if sized else ""
        return f"nor does it fit any other of {', '.join(ARCHITECTURES)}: take another file{start}"
    skeletons = [name for name, skeleton in SKELETONS.items() if len(skeleton) == fit.keypoints]
    named = f" ({', '.join(skeletons)})" if skeletons else ""
    size = "" if fit.input_wh is None else f" --input {fit.input_wh[1]}x{fit.input_wh[0]}"
    return f"it fits `--arch {fit.name}{size}` with a skeleton of {fit.keypoints} keypoints{named}"


def _few(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(map(_printable, names[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _printable(name: str) -> str:
    """A name out of a file, short and on one line."""
    return name.encode("unicode_escape").decode()[:160]
