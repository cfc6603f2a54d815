"""`pipeline teacher spec`: the entry for params.yaml that an ONNX file suggests, each value with where it is from."""

from collections.abc import Callable
from pathlib import Path

import yaml

from pipeline.teachers.proposal import propose


def run(path: Path, say: Callable[[str], None] = print) -> None:
    """Print the lines to paste under `teachers:` and the next command."""
    proposal = propose(path)
    lines = {"onnx": (_yaml(str(path)), ""), "dataset": ("NAME", "whose labels it is judged by")}
    lines |= {key: (_yaml(value), proposal.source[key]) for key, value in proposal.values.items()}
    say("teachers:")
    say(f"  {path.stem}:")
    for key, (value, source) in lines.items():
        line = f"    {key}: {value}"
        say(f"{line:<44}# {source}" if source else line)
    say(f"then `pipeline teacher check --teacher {path.stem}`, which scores it and tries other readings")


def _yaml(value: object) -> str:
    """One line of YAML, whatever a file claims its values to be."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
