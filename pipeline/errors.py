"""The one exception that a user's mistake or a user's file raises, which the command line prints as one line; and others' in one line."""

import re

LONGEST = 300
"""Characters of somebody else's message; what is longer loses its middle, since some say the reason first and some last."""
LOOKED_AT = 5000
"""Characters of it that the patterns see: what a hostile file puts into a message costs no time."""

RUNTIME_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
BUILD_PLACE = re.compile(
    r"(?<![\\/\w.+-])(?:[A-Za-z]:)?[\\/\w.+-]*\.(?:cc|cpp|cu|cuh|h|hpp):\d+ "
    r"(?:[^():]*::[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])?|\S+)"
)
"""Where in its own C++ source a library gave up: `/build/model.cc:180 type name::space(arguments) [with ...]`, or a bare name."""
CUDA_DETAILS = re.compile(r" ?; GPU=-?\d+ ;.*")
"""What ONNX Runtime puts behind a failure of CUDA: the machine's name, and again its own source."""


SHOWN = 60
"""Characters of a value."""


class UserError(Exception):
    """Says what, where, expected, found, and the command that helps. Anything else that escapes is our defect."""


def shown(value: object) -> str:
    """A value for an error line: one line, cut to 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # CPython refuses to print integers beyond 4300 digits
        text = "an enormous value"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def printable(name: object) -> str:
    """A name out of a file as it stands there, but on one line, without control characters, cut to 60 characters."""
    text = str(name)
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: SHOWN + 1])
    return plain if len(plain) <= SHOWN else plain[: SHOWN - 3] + "..."


def one_line(error: Exception) -> str:
    """What somebody else's exception says, in one line of bearable length; its type where it says nothing.

    ONNX Runtime's codes and the places in its source are left out: they are longer than the reason, which they stand before.
    """
    text = _without_middle(" ".join(str(error).split()), LOOKED_AT)
    for noise in (RUNTIME_PREFIX, BUILD_PLACE, CUDA_DETAILS):
        text = noise.sub(" ", text)
    return _without_middle(" ".join(text.split()), LONGEST) or type(error).__name__


def _without_middle(text: str, longest: int) -> str:
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
