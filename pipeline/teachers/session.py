"""Opening a teacher: an ONNX file under its spec, on the device it really got. Everything that can be wrong is found here."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pipeline.errors import UserError, one_line
from pipeline.flip import Forward, averaging
from pipeline.outputs import Arrays, target_wh
from pipeline.spec import ARRAYS, METADATA_KEY, SPEC_KEYS, NetworkSpec, Precision, spec_values
from pipeline.teachers.onnx_file import digest, half_precision
from pipeline.teachers.providers import PROVIDERS, Device, Opened, open_session

BATCH = 64
FLOATS: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Teacher:
    """An opened teacher."""

    name: str
    spec: NetworkSpec
    path: Path
    sha256: str
    precision: Precision
    """`float16`: what the file computes in float32 was converted when it was opened."""
    opened: Opened
    batch: int | None
    """The batch size the file is fixed to, None where it takes any."""
    outputs: tuple[str, ...]
    """Names of the outputs that are used, in the order of pipeline.spec.ARRAYS."""
    target_wh: tuple[int, int]
    """Width and height of the maps, or how many bins x and y have."""

    @property
    def number(self) -> type[np.floating]:
        """NumPy's type of the file's input: float32 or float16."""
        return FLOATS[self.opened.session.get_inputs()[0].type]

    def forward(self, batch: int = BATCH) -> Forward:
        """Raw outputs of crops, `batch` at a time, averaged with the mirror picture's where the spec says so."""
        return averaging(functools.partial(infer, self, batch=batch), self.spec)


def open_teacher(
    name: str,
    path: Path,
    spec: NetworkSpec,
    device: Device = "auto",
    threads: int = 0,
    precision: Precision = "float32",
) -> Teacher:
    """Open the file, check its input and outputs against the spec, and run it once on grey; UserError says what does not fit."""
    if not path.is_file():
        raise UserError(
            f"teachers.{name}.onnx: {path} does not exist: put the file there, make one with `pipeline teacher import`, "
            f"or train one with `pipeline fit --teacher {name}`"
        )
    sha256 = digest(path)
    model = half_precision(path) if precision == "float16" else path
    try:
        opened = open_session(model, device, threads)
    except UserError as error:
        raise UserError(f"teacher {name}: {error}") from error
    except Exception as error:
        raise UserError(
            f"{path}: ONNX Runtime cannot open teacher {name}: {one_line(error)}: put the file there again"
        ) from error
    _refuse_other_spec(name, path, spec, opened.session)
    batch = _batch_of(name, path, spec, opened.session)
    raw = _on_grey(name, path, spec, opened, batch)
    names = _outputs(name, path, spec, raw)
    _refuse_nonsense(name, path, batch or 2, [raw[output] for output in names])
    wh = target_wh(tuple(raw[output] for output in names))
    return Teacher(name, spec, path, sha256, precision, opened, batch, names, wh)


def infer(teacher: Teacher, crops: np.ndarray, batch: int) -> Arrays:
    """Raw outputs float32 of RGB crops uint8 (N, H, W, 3), in batches of `batch` (or what the file is fixed to; the last one filled up)."""
    size = teacher.batch or batch
    starts = range(0, len(crops), size)
    parts = [one_pass(teacher, teacher.spec.normalised(crops[start : start + size])) for start in starts]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def one_pass(teacher: Teacher, inputs: np.ndarray) -> Arrays:
    """Raw outputs float32 of network inputs (N, 3, H, W), N at most what the file is fixed to, which they are filled up to."""
    short = teacher.batch - len(inputs) if teacher.batch else 0
    filled = np.concatenate([inputs, np.zeros((short, *inputs.shape[1:]), inputs.dtype)]) if short else inputs
    try:
        raw = _run(teacher.opened, filled, teacher.outputs)
    except Exception as error:
        raise UserError(
            f"{teacher.path}: teacher {teacher.name} fails on {len(filled)} crops: {one_line(error)}: try a smaller --batch"
        ) from error
    return tuple(array[: len(inputs)].astype(np.float32, copy=False) for array in raw)


def _run(opened: Opened, inputs: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """One pass, input and outputs bound to the device the session is on."""
    device = "cuda" if opened.provider == PROVIDERS["cuda"] else "cpu"
    binding, first = opened.session.io_binding(), opened.session.get_inputs()[0]
    value = ort.OrtValue.ortvalue_from_numpy(inputs.astype(FLOATS[first.type], copy=False), device, 0)
    binding.bind_ortvalue_input(first.name, value)
    for output in outputs:
        binding.bind_output(output, device, 0)
    opened.session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()


def _batch_of(name: str, path: Path, spec: NetworkSpec, session: ort.InferenceSession) -> int | None:
    """The batch the file is fixed to; UserError where its input is not what the spec says."""
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
            f"{path}: its input is {shape}, teachers.{name}.input says [batch, 3, {height}, {width}]: mend params.yaml"
        )
    if inputs[0].type not in FLOATS:
        raise UserError(f"{path}: expected a float32 or float16 input, found {inputs[0].type}: export it again")
    return shape[0] if isinstance(shape[0], int) else None


def _on_grey(name: str, path: Path, spec: NetworkSpec, opened: Opened, batch: int | None) -> dict[str, np.ndarray]:
    """Every output of the file for grey crops."""
    shape = (batch or 2, spec.input_wh[1], spec.input_wh[0], 3)
    names = tuple(output.name for output in opened.session.get_outputs() if output.type.startswith("tensor("))
    try:
        crops = np.full(shape, 127, np.uint8)
        raw = dict(zip(names, _run(opened, spec.normalised(crops), names), strict=True))
    except Exception as error:
        raise UserError(
            f"{path}: teacher {name} fails on {list(shape)} crops: {one_line(error)}: export it again"
        ) from error
    return raw


def _outputs(name: str, path: Path, spec: NetworkSpec, raw: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The outputs that are meant: those the spec names, or those of the right shape."""
    shapes = ", ".join(f"{output} {list(values.shape)}" for output, values in raw.items())
    unknown = [output for output in spec.outputs if output not in raw]
    if unknown:
        raise UserError(f"teachers.{name}.outputs: {path} has no {unknown[0]}: expected some of {shapes}")
    wanted = ARRAYS[spec.kind]
    axes = 3 if spec.kind == "simcc" else 4
    shaped = [output for output in spec.outputs or raw if raw[output].ndim == axes]
    fitting = [output for output in shaped if raw[output].shape[1] == len(spec.skeleton)]
    if shaped and not fitting:
        raise UserError(
            f"{path}: expected outputs of the {len(spec.skeleton)} keypoints of {spec.skeleton.name}, "
            f"found {shapes}: mend teachers.{name}.skeleton in params.yaml"
        )
    if len(fitting) > len(wanted):
        raise UserError(
            f"{path}: several outputs could be meant, {shapes}: say which with teachers.{name}.outputs ({', '.join(wanted)})"
        )
    if len(fitting) < len(wanted):
        what = (
            "two outputs [batch, keypoints, bins]"
            if spec.kind == "simcc"
            else "an output [batch, keypoints, height, width]"
        )
        wrong = "outputs" if spec.outputs else "kind"
        raise UserError(
            f"{path}: kind {spec.kind} wants {what}, found {shapes}: mend teachers.{name}.{wrong} in params.yaml"
        )
    if spec.kind != "simcc":
        return tuple(fitting)
    first, second = fitting
    orders = [(first, second)] if spec.outputs else [(first, second), (second, first)]
    orders = [(x, y) for x, y in orders if raw[x].shape[2] * spec.input_wh[1] == raw[y].shape[2] * spec.input_wh[0]]
    if not orders:
        raise UserError(
            f"{path}: expected as many bins per pixel in x as in y of a {list(spec.input_wh[::-1])} input, found {shapes}: "
            f"mend teachers.{name}.input or outputs in params.yaml"
        )
    if len(orders) > 1:
        orders = [(x, y) for x, y in orders if x.lower().endswith("x") and y.lower().endswith("y")]
    if not orders:
        raise UserError(
            f"{path}: x and y have as many bins, {shapes}: say which is which with teachers.{name}.outputs ([x, y])"
        )
    return orders[0]


def _refuse_nonsense(name: str, path: Path, crops: int, raw: list[np.ndarray]) -> None:
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
    """A file that we exported knows its spec: params.yaml may not say otherwise."""
    written = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY + "spec")
    if written is None:
        return
    try:
        inside, asked = dict(json.loads(written)), spec_values(spec)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: the spec it carries is not readable: export it again") from error
    for key in (*SPEC_KEYS, "factor"):
        if inside.get(key) != asked.get(key):
            again = f", or import it again with --{key}" if key in ("color", "padding", "affine") else ""
            raise UserError(
                f"{path}: was made for {key} {inside.get(key)!r}, teachers.{name}.{key} says {asked.get(key)!r}: "
                f"mend params.yaml{again}"
            )
