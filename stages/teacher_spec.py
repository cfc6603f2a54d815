"""`teacher spec`: the entry for params.yaml that an ONNX file suggests, with the source of each value: printed, or written into it."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.pose.skeletons import Skeleton
from pipeline.teachers.spec_proposal import propose_spec
from stages.project.datasets import DatasetSettings
from stages.project.parsing import PARAMS_FILE
from stages.project.project import known_skeletons, load_project, project_of
from stages.project.yaml_files import read_yaml_text, yaml_text

NOTE_COLUMN = 44
"""Column of the comments behind values."""


class EntryLine(NamedTuple):
    """A key of a teacher's entry."""

    key: str
    value: object
    """None where the file does not tell it, and nothing is usual."""
    note: str = ""
    """What is to be known about the value; empty where it is certain."""


def run(path: Path, log: Callable[[str], None] = print) -> None:
    """Print the lines to paste under `teachers:` in params.yaml, and the next command."""
    proposal = propose_spec(path, known_skeletons())
    entry = [EntryLine("onnx", str(path)), EntryLine("dataset", "NAME", "whose labels it is scored by")]
    entry += [EntryLine(key, value, proposal.source[key]) for key, value in proposal.values.items()]
    name = _name_from(path)
    log("teachers:")
    log(f"  {name}:")
    for line in entry_text(entry, "    "):
        log(line)
    log(f"then `pipeline teacher check --teacher {name}`, which scores it and tries other specs")


def write(path: Path, name: str, params: Path = PARAMS_FILE, log: Callable[[str], None] = print) -> None:
    """Write the entry as the teacher `name` into params.yaml and print what is to be checked; all that is there stays as it is.

    What is certain stands there alone, a guess has a comment, and what nobody but its maker knows is only a comment. UserError where
    the teacher exists.
    """
    project = load_project(params)
    if name in project.teacher_names:
        raise UserError(f"{params}: teachers.{name}: exists: remove it first, or give `--write` another name")
    entry = teacher_entry(path, name, project.datasets, project.skeletons)
    before = params.read_bytes().decode("utf-8")
    text = with_teacher(before, name, entry, params)
    written = project_of(read_yaml_text(text, params), params)
    added = {line.key: line.value for line in entry if line.value is not None}
    teachers = {**(project.values.get("teachers") or {}), name: added}
    if written.values != {**project.values, "teachers": teachers}:
        raise UserError(
            f"{params}: teachers: expected entries in lines of their own, found another form: rewrite it so"
        )
    write_atomically(params, text.replace("\n", "\r\n" if "\r\n" in before else "\n").encode())
    for line in entry:
        if line.value is None:
            log(f"{line.key}: to be filled in: {line.note}")
        elif line.note:
            log(f"{line.key}: {yaml_text(line.value, flow=True).strip()}: {line.note}")
    log(
        f"{params}: teachers.{name} is written; then `pipeline teacher check --teacher {name}`, which tries other specs"
    )


def _name_from(path: Path) -> str:
    """Return a teacher's name after its file: of letters, digits, - and _, and no number."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")
    return name if name[:1].isalpha() else f"teacher-{name}".rstrip("-")


def teacher_entry(
    path: Path, name: str, datasets: Mapping[str, DatasetSettings], skeletons: Mapping[str, Skeleton]
) -> list[EntryLine]:
    """Return the lines of a teacher's entry; its dataset is the one of its name, or the only one with its skeleton."""
    proposal = propose_spec(path, skeletons)
    skeleton = proposal.values["skeleton"]
    fitting = [key for key, dataset in datasets.items() if dataset.labelled and dataset.skeleton.name == skeleton]
    if name in datasets:
        dataset = EntryLine("dataset", name)
    elif len(fitting) == 1:
        dataset = EntryLine("dataset", fitting[0], "the only one with its skeleton: on whose labels it is scored")
    else:
        dataset = EntryLine("dataset", None, f"on whose labels it is scored; one of {', '.join(fitting or datasets)}")
    return [
        EntryLine("onnx", str(path)),
        dataset,
        *(
            EntryLine(
                key,
                None if key == "skeleton" and value not in skeletons else value,
                "" if proposal.is_certain(key) else proposal.source[key],
            )
            for key, value in proposal.values.items()
        ),
    ]


def entry_text(entry: Iterable[EntryLine], indent: str) -> list[str]:
    """Return the lines of an entry as YAML: a key without a value is a comment."""
    lines = []
    for key, value, note in entry:
        line = f"{indent}# {key}:" if value is None else f"{indent}{key}: {yaml_text(value, flow=True).strip()}"
        lines.append(f"{line:<{NOTE_COLUMN}}{'' if value is None else '# '}{note}" if note else line)
    return lines


def with_teacher(text: str, name: str, entry: Iterable[EntryLine], where: Path = PARAMS_FILE) -> str:
    """Return the text of a params.yaml with another teacher behind the others; every other line stays as it is."""
    document = YAML(typ="rt", pure=True).load(text)
    lines = text.splitlines()
    if "teachers" not in document:
        return "\n".join([*lines, "", "teachers:", f"  {name}:", *entry_text(entry, "    "), ""])
    first = document.lc.data["teachers"][0]
    teachers = document["teachers"]
    if not teachers:
        lines[first] = re.sub(r":\s*(\{\s*\}|null|Null|NULL|~)", ":", lines[first], count=1).rstrip()
        return "\n".join([*lines[: first + 1], f"  {name}:", *entry_text(entry, "    "), *lines[first + 1 :], ""])
    if teachers.fa.flow_style():
        raise UserError(f"{where}: teachers: expected entries in lines of their own, found them in {{}}: rewrite it so")
    indent = " " * min(column for _, column, *_ in teachers.lc.data.values())
    end = min((line for line, *_ in document.lc.data.values() if line > first), default=len(lines))
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
        end -= 1
    added = [f"{indent}{name}:", *entry_text(entry, indent + "  ")]
    return "\n".join([*lines[:end], *added, *lines[end:], ""])
