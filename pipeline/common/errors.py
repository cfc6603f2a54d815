"""The exception for mistakes of a user or in a user's file, which the command line prints as one line, and texts for such lines."""

import re

LONGEST_MESSAGE = 300
"""Characters of a library's message. A longer one loses its middle: some libraries give the reason first, some last."""
LONGEST_SCANNED = 5000
"""Characters of it that the patterns run over, so that a message that a hostile file made long costs no time."""

RUNTIME_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
SOURCE_LOCATION = re.compile(
    r"(?<![\\/\w.+-])(?:[A-Za-z]:)?[\\/\w.+-]*\.(?:cc|cpp|cu|cuh|h|hpp):\d+ "
    r"(?:[^():]*::[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])?|\S+)"
)
"""The place in its own C++ source that a library names: `/build/model.cc:180 type name::space(arguments) [with ...]`, or a bare name."""
CUDA_DETAILS = re.compile(r" ?; GPU=-?\d+ ;.*")
"""What ONNX Runtime appends to a failure of CUDA: the machine's name, and its own source once more."""

LONGEST_VALUE = 60
"""Characters of a value or a name in an error line."""


class UserError(Exception):
    """An error whose message says where, what was expected, what was found, and which command helps. Any other exception is a defect."""


def short_repr(value: object) -> str:
    """Return the repr of a value, of NumPy's as of Python's, for an error line: one line of at most LONGEST_VALUE characters."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # CPython refuses to print integers beyond 4300 digits
        text = "an enormous value"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def printable(name: object) -> str:
    """Return a name from a file without quotes: one line, control characters escaped, at most LONGEST_VALUE characters."""
    text = str(name)
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: LONGEST_VALUE + 1])
    return plain if len(plain) <= LONGEST_VALUE else plain[: LONGEST_VALUE - 3] + "..."


def one_line(error: Exception) -> str:
    """Return the message of a library's exception as one line of at most LONGEST_MESSAGE characters; its type where it is empty.

    ONNX Runtime's error codes and places in its source are removed: they are longer than the reason and come first.
    """
    text = _without_middle(" ".join(str(error).split()), LONGEST_SCANNED)
    for noise in (RUNTIME_PREFIX, SOURCE_LOCATION, CUDA_DETAILS):
        text = noise.sub(" ", text)
    return _without_middle(" ".join(text.split()), LONGEST_MESSAGE) or type(error).__name__


def _without_middle(text: str, length: int) -> str:
    half = (length - 5) // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"
