"""Opens teachers: ONNX files under a spec, on a device. Everything that can be wrong with a file is found here."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pipeline.common.errors import UserError, one_line, short_repr
from pipeline.inference.devices import PROVIDERS, OpenSession, open_session
from pipeline.inference.onnx_file import half_precision, onnx_digest, place_to_open
from pipeline.pose.flip_averaging import Forward, with_flip_averaging
from pipeline.pose.options import Device, TeacherPrecision
from pipeline.pose.outputs import OutputArrays, output_wh
from pipeline.pose.spec import ARRAYS, METADATA_KEY, SPEC_KEYS, NetworkSpec, spec_values

DEFAULT_BATCH = 64
"""Crops per pass."""
FLOAT_TYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""NumPy's types of the inputs that a file may have, by ONNX Runtime's names."""


@dataclass(frozen=True)
class Teacher:
    """An open teacher."""

    name: str
    spec: NetworkSpec
    path: Path
    sha256: str
    precision: TeacherPrecision
    """`float16`: the file's float32 arithmetic was converted when it was opened."""
    runtime: OpenSession
    batch: int | None
    """The batch size that the file is fixed to; None if it takes any."""
    outputs: tuple[str, ...]
    """Names of the outputs in use, in the order of pipeline.pose.spec.ARRAYS."""
    target_wh: tuple[int, int]
    """Width and height of the maps in pixels, or the numbers of bins of x and y."""

    @property
    def dtype(self) -> type[np.floating]:
        """NumPy's type of the file's input: float32 or float16."""
        return FLOAT_TYPES[self.runtime.session.get_inputs()[0].type]

    def forward(self, batch: int = DEFAULT_BATCH) -> Forward:
        """Return the function from crops to raw outputs, `batch` per pass, with flip averaging if the spec says so."""
        return with_flip_averaging(functools.partial(infer, self, batch=batch), self.spec)


def open_teacher(
    name: str,
    path: Path,
    spec: NetworkSpec,
    device: Device = "auto",
    threads: int = 0,
    precision: TeacherPrecision = "float32",
) -> Teacher:
    """Open a file, run it once on grey crops, and compare its input and outputs with the spec; UserError if they do not fit."""
    if not path.is_file():
        raise UserError(
            f"teachers.{name}.onnx: {path} does not exist: put the file there, make one with `pipeline teacher import`, "
            f"or train one with `pipeline fit --teacher {name}`"
        )
    sha256 = onnx_digest(path)
    model = half_precision(path) if precision == "float16" else place_to_open(path)
    try:
        runtime = open_session(model, device, threads)
    except UserError as error:
        raise UserError(f"teacher {name}: {error}") from error
    except Exception as error:
        raise UserError(
            f"{path}: ONNX Runtime cannot open teacher {name}: {one_line(error)}: put the file there again"
        ) from error
    _refuse_other_spec(name, path, spec, runtime.session)
    batch = _batch_of(name, path, spec, runtime.session)
    raw = _run_on_grey(name, path, spec, runtime, batch)
    names = _outputs(name, path, spec, raw)
    _refuse_invalid_outputs(name, path, batch or 2, [raw[output] for output in names])
    wh = output_wh(tuple(raw[output] for output in names))
    return Teacher(name, spec, path, sha256, precision, runtime, batch, names, wh)


def infer(teacher: Teacher, crops: np.ndarray, batch: int) -> OutputArrays:
    """Return raw outputs float32 of RGB crops uint8 (N, H, W, 3), `batch` per pass, or as many as the file is fixed to."""
    size = teacher.batch or batch
    starts = range(0, len(crops), size)
    parts = [forward_pass(teacher, teacher.spec.normalised(crops[start : start + size])) for start in starts]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def forward_pass(teacher: Teacher, inputs: np.ndarray) -> OutputArrays:
    """Return raw outputs float32 of network inputs (N, 3, H, W). If the file has a fixed batch, N may be smaller, not larger."""
    short = teacher.batch - len(inputs) if teacher.batch else 0
    filled = np.concatenate([inputs, np.zeros((short, *inputs.shape[1:]), inputs.dtype)]) if short else inputs
    try:
        raw = _run(teacher.runtime, filled, teacher.outputs)
    except Exception as error:
        raise UserError(
            f"{teacher.path}: teacher {teacher.name} fails on {len(filled)} crops: {one_line(error)}: try a smaller --batch"
        ) from error
    return tuple(array[: len(inputs)].astype(np.float32, copy=False) for array in raw)


def _run(runtime: OpenSession, inputs: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """Run the session once, with input and outputs bound to its device."""
    device = "cuda" if runtime.provider == PROVIDERS["cuda"] else "cpu"
    binding, first = runtime.session.io_binding(), runtime.session.get_inputs()[0]
    value = ort.OrtValue.ortvalue_from_numpy(inputs.astype(FLOAT_TYPES[first.type], copy=False), device, 0)
    binding.bind_ortvalue_input(first.name, value)
    for output in outputs:
        binding.bind_output(output, device, 0)
    runtime.session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()


def _batch_of(name: str, path: Path, spec: NetworkSpec, session: ort.InferenceSession) -> int | None:
    """Return the batch that the file is fixed to, or None; UserError if its input is not as the spec says."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        found = ", ".join(f"{i.name} {i.shape}" for i in inputs)
        raise UserError(
            f"{path}: expected one input of crops, found {len(inputs)}: {found}: export it without the others"
        )
    width, height = spec.input_wh
    shape = inputs[0].shape
    if len(shape) != 4 or any(
        isinstance(s, int) and s != e for s, e in zip(shape[1:], (3, height, width), strict=True)
    ):
        raise UserError(
            f"{path}: its input is {shape}, teachers.{name}.input says [batch, 3, {height}, {width}]: correct params.yaml"
        )
    if inputs[0].type not in FLOAT_TYPES:
        raise UserError(f"{path}: expected a float32 or float16 input, found {inputs[0].type}: export it again")
    return shape[0] if isinstance(shape[0], int) else None


def _run_on_grey(
    name: str, path: Path, spec: NetworkSpec, runtime: OpenSession, batch: int | None
) -> dict[str, np.ndarray]:
    """Return every output of the file for grey crops, by name."""
    shape = (batch or 2, spec.input_wh[1], spec.input_wh[0], 3)
    names = tuple(output.name for output in runtime.session.get_outputs() if output.type.startswith("tensor("))
    try:
        crops = np.full(shape, 127, np.uint8)
        raw = dict(zip(names, _run(runtime, spec.normalised(crops), names), strict=True))
    except Exception as error:
        raise UserError(
            f"{path}: teacher {name} fails on {list(shape)} crops: {one_line(error)}: export it again"
        ) from error
    return raw


def _outputs(name: str, path: Path, spec: NetworkSpec, raw: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names of the outputs to use: those that the spec names, or those of the right shape."""
    shapes = ", ".join(f"{output} {list(values.shape)}" for output, values in raw.items())
    unknown = [output for output in spec.outputs if output not in raw]
    if unknown:
        raise UserError(f"teachers.{name}.outputs: {path} has no {unknown[0]}: expected some of {shapes}")
    arrays = ARRAYS[spec.kind]
    axes = 3 if spec.kind == "simcc" else 4
    shaped = [output for output in spec.outputs or raw if raw[output].ndim == axes]
    fitting = [output for output in shaped if raw[output].shape[1] == len(spec.skeleton)]
    if shaped and not fitting:
        raise UserError(
            f"{path}: expected outputs of the {len(spec.skeleton)} keypoints of {spec.skeleton.name}, "
            f"found {shapes}: correct teachers.{name}.skeleton in params.yaml"
        )
    if len(fitting) > len(arrays):
        raise UserError(
            f"{path}: several outputs fit, {shapes}: name the right ones in teachers.{name}.outputs ({', '.join(arrays)})"
        )
    if len(fitting) < len(arrays):
        expected = (
            "two outputs [batch, keypoints, bins]"
            if spec.kind == "simcc"
            else "an output [batch, keypoints, height, width]"
        )
        wrong = "outputs" if spec.outputs else "kind"
        raise UserError(
            f"{path}: kind {spec.kind} needs {expected}, found {shapes}: correct teachers.{name}.{wrong} in params.yaml"
        )
    if spec.kind != "simcc":
        return tuple(fitting)
    first, second = fitting
    orders = [(first, second)] if spec.outputs else [(first, second), (second, first)]
    orders = [(x, y) for x, y in orders if raw[x].shape[2] * spec.input_wh[1] == raw[y].shape[2] * spec.input_wh[0]]
    if not orders:
        raise UserError(
            f"{path}: expected as many bins per pixel in x as in y of a {list(spec.input_wh[::-1])} input, found {shapes}: "
            f"correct teachers.{name}.input or outputs in params.yaml"
        )
    if len(orders) > 1:
        orders = [(x, y) for x, y in orders if x.lower().endswith("x") and y.lower().endswith("y")]
    if not orders:
        raise UserError(
            f"{path}: x and y have equally many bins, {shapes}: name them in teachers.{name}.outputs ([x, y])"
        )
    return orders[0]


def _refuse_invalid_outputs(name: str, path: Path, crops: int, raw: list[np.ndarray]) -> None:
    for values in raw:
        if len(values) != crops:
            raise UserError(
                f"{path}: expected one output for each of {crops} crops, found shape {list(values.shape)}: export it again"
            )
        if min(values.shape[2:]) < 3:
            raise UserError(
                f"{path}: expected maps or bins of at least 3 pixels, found shape {list(values.shape)}: export it again"
            )
    if not all(np.isfinite(values).all() for values in raw):
        raise UserError(f"{path}: teacher {name} gives NaN or infinite values for a grey crop: export it again")


def _refuse_other_spec(name: str, path: Path, spec: NetworkSpec, session: ort.InferenceSession) -> None:
    """Raise UserError if the file carries a spec, as exported students do, and params.yaml has another one."""
    carried = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY + "spec")
    if carried is None:
        return
    try:
        inside, declared = dict(json.loads(carried)), spec_values(spec)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: the spec it carries is not readable: export it again") from error
    for values in (inside, declared):  # limbs, sigmas and aliases of a skeleton do not touch the network
        values["skeleton"] = _name_and_mirror(values.get("skeleton"))
    for key in (*SPEC_KEYS, "factor"):
        if inside.get(key) != declared.get(key):
            or_import = f", or import it again with --{key}" if key in ("color", "padding", "affine") else ""
            raise UserError(
                f"{path}: was made for {key} {inside.get(key)!r}, teachers.{name}.{key} says {declared.get(key)!r}: "
                f"correct params.yaml{or_import}"
            )
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY + "keypoints")
    if text is not None and text != json.dumps(list(spec.skeleton.keypoints)):
        raise UserError(
            f"{path}: was made for other keypoints, or another order, than {spec.skeleton.name} has, {short_repr(text)}: "
            "correct params.yaml, or make the file again"
        )


def _name_and_mirror(skeleton: object) -> object:
    """Return the name of the skeleton in a spec, with its mirror partners where it states them."""
    if not isinstance(skeleton, dict) or not skeleton.get("mirror"):
        return skeleton.get("name") if isinstance(skeleton, dict) else skeleton
    return [skeleton.get("name"), skeleton["mirror"]]
