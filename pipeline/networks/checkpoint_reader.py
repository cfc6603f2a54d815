"""Reads weights by name from checkpoints of unknown origin, without running or importing anything that the file names."""

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.common.errors import UserError

ALLOWED_DTYPES = frozenset(
    (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
)
"""Data types of weights that are accepted. Of others, for example 8-bit floats, torch cannot tell whether they are finite."""

MAX_NAMES_SHOWN = 3
"""Number of names that a message lists."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read weights by name, on the CPU, from a file of `torch.save` in the zip or the older format.

    The file holds the weights alone or under `state_dict`. Names are returned without `module.`, and with `head.` where files of
    2020 have `keypoint_head.`. `state_dict` is read even beside an `ema_state_dict`: MMEngine swaps the two when it saves, so
    `state_dict` holds the averaged weights, those of the published scores, and the other the raw ones. UserError, one line, for
    anything that is not a checkpoint, and for classes that are not allowed (`STAND_INS`).
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file: give the path of a checkpoint (.pth)")
    document = _load(path)
    weights = document.get("state_dict", document) if isinstance(document, dict) else document
    if not isinstance(weights, dict) or not any(isinstance(value, torch.Tensor) for value in weights.values()):
        keys = (
            f"a mapping with {few_names(list(map(str, weights)))}"
            if isinstance(weights, dict)
            else type(weights).__name__
        )
        raise UserError(
            f"{path}: expected weights by name, alone or under `state_dict`, found {keys}: take another file"
        )
    refused = [str(name) for name, value in weights.items() if not (isinstance(name, str) and _is_plain(value))]
    if refused:
        raise UserError(
            f"{path}: expected dense tensors of integers or 16 to 64-bit floats, "
            f"found others under {few_names(refused)}: take another file"
        )
    return {_network_name(name): value.detach() for name, value in weights.items()}


def few_names(names: list[str]) -> str:
    """Return the first MAX_NAMES_SHOWN names, printable, and how many more there are."""
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(map(_printable, names[:MAX_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")


class _Ignored:
    """Replaces a class whose objects are not used here: it accepts any arguments and state, and keeps nothing."""

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
"""The objects that torch makes of the names in published checkpoints, beside its own tensors. Nothing that a file names is imported."""


def _load(path: Path) -> object:
    with path.open("rb") as stream:
        try:
            with torch.serialization.safe_globals(list(STAND_INS)), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document = torch.load(stream, map_location="cpu", weights_only=True)
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    if archive.testzip() is not None:  # torch does not verify the checksums
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
        and value.dtype in ALLOWED_DTYPES
    )


def _network_name(name: str) -> str:
    name = name.removeprefix("module.")
    return "head." + name.removeprefix("keypoint_head.") if name.startswith("keypoint_head.") else name


def _printable(name: str) -> str:
    """Return a name from a file with its control characters escaped, at most 160 characters long."""
    return name.encode("unicode_escape").decode()[:160]
