"""`teacher spec`: prints the entry for params.yaml that an ONNX file suggests, with the source of each value."""

from collections.abc import Callable
from pathlib import Path

from pipeline.teachers.spec_proposal import propose_spec
from stages.project.project import known_skeletons
from stages.project.yaml_files import yaml_text


def run(path: Path, log: Callable[[str], None] = print) -> None:
    """Print the lines to paste under `teachers:` in params.yaml, and the next command."""
    proposal = propose_spec(path, known_skeletons())
    lines = {"onnx": (yaml_text(str(path), flow=True).strip(), ""), "dataset": ("NAME", "whose labels it is scored by")}
    lines |= {
        key: (yaml_text(value, flow=True).strip(), proposal.source[key]) for key, value in proposal.values.items()
    }
    log("teachers:")
    log(f"  {path.stem}:")
    for key, (value, source) in lines.items():
        line = f"    {key}: {value}"
        log(f"{line:<44}# {source}" if source else line)
    log(f"then `pipeline teacher check --teacher {path.stem}`, which scores it and tries other specs")
