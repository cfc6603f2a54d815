"""Opening a teacher: an ONNX file under its spec, on the device it really got. Everything that can be wrong is found here."""

import contextlib
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from pipeline.errors import UserError
from pipeline.spec import METADATA_KEY, SPEC_KEYS, NetworkSpec, spec_values

Device = Literal["auto", "cuda", "cpu"]

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


@dataclass(frozen=True)
class Teacher:
    """An opened teacher."""

    name: str
    spec: NetworkSpec
    path: Path
    sha256: str
    provider: str
    batch: int | None
    """The batch size the file is fixed to, None where it takes any."""
    target_wh: tuple[int, int]
    session: ort.InferenceSession


def open_teacher(name: str, path: Path, spec: NetworkSpec, device: Device = "auto", threads: int = 0) -> Teacher:
    """Open the file, check its input and output against the spec, and run it once on grey; UserError says what does not fit."""
    if not path.is_file():
        raise UserError(
            f"teachers.{name}.onnx: {path} does not exist: put the file there or train one with `pipeline fit --teacher {name}`"
        )
    session = _session(name, path, device, threads)
    _refuse_other_spec(name, path, spec, session)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path}: expected one input and one output of heatmaps, found {len(inputs)} and {len(outputs)}"
        )
    width, height = spec.input_wh
    shape = inputs[0].shape
    if len(shape) != 4 or any(
        isinstance(s, int) and s != e for s, e in zip(shape[1:], (3, height, width), strict=True)
    ):
        raise UserError(
            f"{path}: its input is {shape}, teachers.{name}.input says [batch, 3, {height}, {width}]: mend params.yaml"
        )
    if inputs[0].type != "tensor(float)":
        raise UserError(f"{path}: expected a float32 input, found {inputs[0].type}")
    batch = shape[0] if isinstance(shape[0], int) else None
    grey = np.full((batch or 2, height, width, 3), 127, np.uint8)
    try:
        maps = np.asarray(session.run(None, {inputs[0].name: spec.normalised(grey)})[0])
    except Exception as error:
        raise UserError(
            f"{path}: teacher {name} fails on {list(grey.shape)} crops: {_one_line(error)}: export it again"
        ) from error
    if maps.shape[:1] != (len(grey),):
        raise UserError(
            f"{path}: expected one output for each of {len(grey)} crops, found shape {list(maps.shape)}: export it again"
        )
    if maps.ndim != 4 or maps.shape[1] != len(spec.skeleton):
        raise UserError(
            f"{path}: expected maps of the {len(spec.skeleton)} keypoints of {spec.skeleton.name}, "
            f"found an output of shape {list(maps.shape)}: mend teachers.{name}.skeleton in params.yaml"
        )
    return Teacher(
        name, spec, path, file_digest(path), session.get_providers()[0], batch, (maps.shape[3], maps.shape[2]), session
    )


def file_digest(path: Path) -> str:
    """sha256 of an ONNX file and of the external data files it names, if any."""
    import onnx

    digest = hashlib.sha256(path.read_bytes())
    model = onnx.load(path, load_external_data=False)
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    tensors = [*model.graph.initializer, *constants]
    names = {
        entry.value
        for t in tensors
        if t.data_location == onnx.TensorProto.EXTERNAL
        for entry in t.external_data
        if entry.key == "location"
    }
    for name in sorted(names):
        outside = path.parent / name
        if not outside.resolve().is_relative_to(path.parent.resolve()):
            raise UserError(
                f"{path}: its external data {name} lies outside its folder: export it with the weights inside"
            )
        digest.update(outside.read_bytes())
    return digest.hexdigest()


def infer(teacher: Teacher, crops: np.ndarray, batch: int) -> np.ndarray:
    """Raw maps float32 (N, K, H, W) of RGB crops uint8 (N, H, W, 3), in batches of `batch` (or what the file is fixed to)."""
    size = teacher.batch or batch
    input_name = teacher.session.get_inputs()[0].name
    maps = np.empty((len(crops), len(teacher.spec.skeleton), teacher.target_wh[1], teacher.target_wh[0]), np.float32)
    for start in range(0, len(crops), size):
        part = teacher.spec.normalised(crops[start : start + size])
        short = size - len(part) if teacher.batch else 0
        padded = np.concatenate([part, np.zeros((short, *part.shape[1:]), np.float32)]) if short else part
        maps[start : start + size] = teacher.session.run(None, {input_name: padded})[0][: len(part)]
    return maps


def _refuse_other_spec(name: str, path: Path, spec: NetworkSpec, session: ort.InferenceSession) -> None:
    """A file that we exported knows its spec: params.yaml may not say otherwise."""
    written = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY + "spec")
    if written is None:
        return
    try:
        inside, asked = dict(json.loads(written)), spec_values(spec)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: the spec it carries is not readable: export it again") from error
    for key in SPEC_KEYS:
        if inside.get(key) != asked[key]:
            raise UserError(
                f"{path}: was exported with {key} {inside.get(key)!r}, teachers.{name}.{key} says {asked[key]!r}: "
                f"mend params.yaml or run `pipeline fit --teacher {name}`"
            )


def _session(name: str, path: Path, device: Device, threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    wanted = [PROVIDERS["cpu"]] if device == "cpu" else [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    available = ort.get_available_providers()
    if device != "cpu" and PROVIDERS["cuda"] in available:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it lacks; whether CUDA works is asked below
            ort.preload_dlls()
    try:
        session = ort.InferenceSession(path, options, providers=[p for p in wanted if p in available])
    except Exception as error:
        raise UserError(
            f"{path}: ONNX Runtime cannot open teacher {name}: {_one_line(error)}: "
            f"put the file there again or train one with `pipeline fit --teacher {name}`"
        ) from error
    if device == "cuda" and session.get_providers()[0] != PROVIDERS["cuda"]:
        raise UserError(
            f"teacher {name}: device cuda was asked for, ONNX Runtime got {session.get_providers()[0]}: "
            "install onnxruntime-gpu with CUDA and cuDNN, or use `--device cpu`"
        )
    return session


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
