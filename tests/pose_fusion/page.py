"""The reference in docs/python.md, from the docstrings of `pose_fusion`. `python -m tests.pose_fusion.page` writes it."""

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pose_fusion
from tests.closure import ROOT

PAGE = ROOT / "docs/python.md"
MARK = "<!-- reference -->\n"
WIDTH = 140


def signature(function: Any, name: str) -> str:
    """Return the call with the names of the parameters and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    return f"{name}({', '.join(map(str, plain))})"


def members(cls: type) -> list[str]:
    """Return a line for each public attribute and method of a class, in the order of its source."""
    lines = []
    for name, text in attribute_texts(cls).items():
        value = inspect.getattr_static(cls, name, None)
        if inspect.isfunction(value):
            lines.append(f"- `{signature(value, f'.{name}')}`: {text}")
        else:
            lines.append(f"- `.{name}`: {text}")
    return lines


def attribute_texts(cls: type) -> dict[str, str]:
    """Return the docstrings of fields, attributes set in `__init__`, properties, public methods, calls, length and items."""
    source = inspect.getsource(cls)
    fields = re.findall(r'^ +(?:self\.)?(\w+)(?:: [^=\n]+)?(?: = [^\n]+)?\n +"""(.+?)"""', source, re.M | re.S)
    texts = {name: text for name, text in fields}
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if (not name.startswith("_") or name == "__call__") and inspect.isfunction(function):
            texts[name] = inspect.getdoc(function) or ""
    return {name: " ".join(text.split()) for name, text in texts.items()}


def reference() -> str:
    """Return the Markdown between the marks."""
    parts = []
    for name in sorted(pose_fusion.__all__, key=lambda each: (each in ("UserError", "read_image"), each)):
        value = getattr(pose_fusion, name)
        is_result = (inspect.isclass(value) and "__init__" not in vars(value)) or issubclass_of_tuple(value)
        title = name if is_result else signature(value, name)
        text = "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(value) or "").split("\n\n"))
        parts.append(f"### `{title}`\n\n{text}")
        if inspect.isclass(value) and value is not pose_fusion.UserError:
            parts.append("\n".join(members(value)))
    return "\n".join(wrapped(line) for line in "\n\n".join(parts).splitlines()) + "\n"


def issubclass_of_tuple(value: Any) -> bool:
    """Is it a class of results, which nobody calls?"""
    return inspect.isclass(value) and (issubclass(value, tuple) or hasattr(value, "__dataclass_fields__"))


def wrapped(line: str) -> str:
    """Return a paragraph or an entry of a list in lines of at most WIDTH characters."""
    indent = "  " if line.startswith("- ") else ""
    lines = textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def with_reference(page: str) -> str:
    """Return the page with the reference of today's docstrings."""
    before, _, after = page.split(MARK)
    return f"{before}{MARK}{reference()}{MARK}{after}"


def main(page: Path = PAGE) -> None:
    """Write the page."""
    page.write_text(with_reference(page.read_text()))


if __name__ == "__main__":
    main()
