"""The model card of an exported student as Markdown. The facts are collected by stages.export.card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.pose.spec import NetworkSpec

FRAMES = {
    "udp": "its left and upper edge lie at the centres of the first column and row of pixels, its right and lower edge at those of the "
    "last ones (`udp`)",
    "classic": "its left and upper edge lie at the centres of the first column and row of pixels, its right and lower edge one pixel "
    "beyond the last ones' (`classic`)",
}
"""Where the edges of a crop lie, by affine."""


@dataclass(frozen=True)
class ModelCard:
    """The facts that a model card states."""

    student: str
    file: str
    """Name of the ONNX file, which lies beside the card."""
    folder: str
    """Folder of the student's safetensors file, relative to the project's folder."""
    spec: NetworkSpec
    """The spec of the ONNX file, which for rtmlib differs from the student's."""
    outputs: Mapping[str, Sequence[int]]
    """Shape of each output, without the batch, by its name."""
    runtime: str
    """Version of the oldest ONNX Runtime that opens the file."""
    rtmlib: bool
    """Is the file in rtmlib's form?"""
    equal_maxima: bool
    """Are the largest scores of x and y the same number? They are where bins are made of maps."""
    precision: str
    unlearned: Sequence[str]
    """Keypoints that the student has learned from no label and no teacher."""
    started_from_student: bool
    """Did its training start from another student, which may have learned these?"""
    learned: Sequence[str]
    """The data and teachers that the student learned from, a sentence each."""
    scores: Mapping[str, Mapping[str, str]]
    """Scores by name, by the description of what was scored."""
    note: str
    """A sentence on the origin of the scores, or on why there are none."""
    licences: Sequence[str]
    """The licences of the data, a sentence each."""


def model_card(card: ModelCard) -> str:
    """Return the card as Markdown. Its Python runs unchanged: the first block in the project's folder, the second in the card's."""
    parts = [
        f"# {card.student}: `{card.file}`",
        f"A top-down network for 2-D human pose: one person's crop in, {len(card.spec.skeleton)} keypoints out. {_form(card)}",
        "## Keypoints",
        "In the order of the outputs' second axis: "
        + ", ".join(f"`{name}`" for name in card.spec.skeleton.keypoints)
        + ".",
        *_unlearned(card),
        "## Input",
        _input(card.spec),
        "## Output",
        _output(card),
        "## Scores",
        *([_bullets([_score_line(on, values) for on, values in card.scores.items()])] if card.scores else []),
        card.note,
        "## Learned from",
        _bullets(card.learned),
        "## Licences of the data",
        _bullets(card.licences),
        "## In Python",
        "The student itself, from the project's folder: `student.network` is a torch module in evaluation mode, "
        "`student.spec` describes its input and output.",
        python_block(student_lines(card.folder)),
        *_onnx_use(card),
    ]
    return "\n\n".join(parts) + "\n"


def student_lines(folder: str) -> list[str]:
    """Return the lines of Python that load the student from its safetensors file."""
    return [
        "from pathlib import Path",
        "from pipeline.networks.build import load_student",
        f"student = load_student(Path({folder!r}))",
    ]


def onnx_lines(file: str, outputs: Sequence[str]) -> list[str]:
    """Return the lines of Python that run the ONNX file on normalised `crops`."""
    return [
        "import onnxruntime",
        f"session = onnxruntime.InferenceSession({file!r}, providers=['CPUExecutionProvider'])",
        f"{', '.join(outputs)}{',' * (len(outputs) == 1)} = session.run(None, {{'crops': crops}})",
    ]


def rtmlib_lines(file: str, input_wh: tuple[int, int]) -> list[str]:
    """Return the lines of Python that run the ONNX file by rtmlib on a BGR `image` with `boxes`, each x and y of two corners."""
    return [
        "from rtmlib import RTMPose",
        f"pose = RTMPose({file!r}, model_input_size={input_wh})",
        "keypoints, scores = pose(image, bboxes=boxes)",
    ]


def python_block(lines: Sequence[str]) -> str:
    """Return the lines as a Markdown block of Python."""
    return "\n".join(["```python", *lines, "```"])


def _form(card: ModelCard) -> str:
    if card.rtmlib:
        return "In the form that rtmlib's `RTMPose` class runs unchanged."
    if card.precision == "float32":
        return "Weights and arithmetic are float32."
    if card.precision == "int8":
        return "Weights and arithmetic are int8 but in the head, its input and outputs float32."
    return "Weights and arithmetic are float16, its input and outputs float32."


def _unlearned(card: ModelCard) -> list[str]:
    if not card.unlearned:
        return []
    names = ", ".join(f"`{name}`" for name in card.unlearned)
    if card.started_from_student:
        return [
            f"No label and no teacher of its own training gives {names}: that is what the student it started from had learned."
        ]
    return [f"It has learned {names} from no label and no teacher: its output for them is meaningless."]


def _input(spec: NetworkSpec) -> str:
    width, height = spec.input_wh
    return (
        f"`crops`, float32 (batch, 3, {height}, {width}): channels {', '.join(spec.color.upper())}, "
        f"values of 0-255 less {_numbers(spec.mean)}, divided by {_numbers(spec.std)}. "
        f"The crop is the person's box with sides {spec.padding:g} times as long, then widened or heightened to {width}:{height}; "
        f"{FRAMES[spec.affine]}; black outside the image."
    )


def _output(card: ModelCard) -> str:
    shapes = [f"`{name}`, float32 (batch, {', '.join(map(str, shape))})" for name, shape in card.outputs.items()]
    if card.spec.kind == "simcc":
        per_pixel, mean = _per_pixel(card), "rtmlib takes their mean" + ", which is the same here" * card.equal_maxima
        more = mean if card.rtmlib else f"softmax({card.spec.factor:g} x score) is a distribution"
        return (
            f"{' and '.join(shapes)}: scores per bin of x and of y, {per_pixel:g} bins a pixel of the crop. "
            f"A keypoint is at its largest bins over {per_pixel:g}, "
            f"its confidence, 0 to 1, is the smaller of their two scores; {more}."
        )
    x, y = _pixels_per_step(card)
    return (
        f"{shapes[0]}: after a softmax over each map, a distribution. A keypoint is at the largest value, moved by one Newton step on the "
        f"logarithm, times {x:.4f} in x and {y:.4f} in y for pixels of the crop; its confidence, 0 to 1, is the probability within two "
        "pixels of the largest value."
    )


def _per_pixel(card: ModelCard) -> float:
    return next(iter(card.outputs.values()))[-1] / card.spec.input_wh[0]


def _pixels_per_step(card: ModelCard) -> tuple[float, float]:
    *_, height, width = next(iter(card.outputs.values()))
    back = card.spec.target_from_input((width, height))
    return 1 / float(back[0, 0]), 1 / float(back[1, 1])


def _score_line(on: str, values: Mapping[str, str]) -> str:
    return f"{on}: " + ", ".join(f"{name} {value}" for name, value in values.items())


def _onnx_use(card: ModelCard) -> list[str]:
    width, height = card.spec.input_wh
    direct = (
        f"The file by ONNX Runtime {card.runtime} or newer, from its own folder, with `crops` as under Input "
        f"(`pipeline predict IMAGES --student {card.file}` does all of it):"
    )
    parts = [direct, python_block(onnx_lines(card.file, list(card.outputs)))]
    if card.rtmlib:
        parts += [
            "By rtmlib, with a BGR `image` as OpenCV reads it and `boxes` as x, y of two corners; "
            f"the input size is {width} x {height}, not rtmlib's default:",
            python_block(rtmlib_lines(card.file, card.spec.input_wh)),
        ]
    return parts


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
