"""The Markdown files against the tree: links, anchors, paths, names, commands and their options, the README's size and numbers, Python."""

import ast
import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup

import cli
from pipeline.networks.build import Student, save_student
from pipeline.networks.pyramid import Pyramid
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, union
from pipeline.pose.spec import METADATA_KEY, parse_spec
from stages import crops
from stages.project.project import SECTIONS, load_project
from tests.closure import PACKAGES, ROOT
from tests.fixtures import PARAMS, save_teacher
from tests.stages.training.tiny_student import student_params

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "results").rglob("*.md")])
FOLDERS = "pipeline|stages|cache|pose_fusion|examples|docs|params|experiments|tests|benchmarks|endurance|fuzzing"
PATH = re.compile(rf"(?<![\w/.*-])(?:{FOLDERS})/[\w./-]*\w/?")
PLACEHOLDER = re.compile(r"NAME|FILE|\.\.\.")
DEFINED = re.compile(r"`(\w+)`\s+in\s+`([\w/]+\.py)`")
COMMAND = re.compile(r"(?<![\w/-])pipeline ([a-z][^`\n]*)")
RESULTS = re.compile(r"<!-- results -->\n(.*?)<!-- results -->", re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def without_blocks(text: str) -> str:
    """The text without fenced code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def code_of(text: str) -> Iterator[str]:
    """Code spans, lines of fenced blocks, and indented lines."""
    yield from re.findall(r"`+ ?([^`\n]+?) ?`+", without_blocks(text))
    for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield from block.splitlines()
    yield from re.findall(r"^    +(\S.*)$", text, re.MULTILINE)


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w -]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """Every function, class, method, field and constant of a module."""
    return frozenset(_defined(ast.parse(file.read_text()).body))


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from _defined(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def commands_named(line: str) -> Iterator[tuple[str, str]]:
    """What stands behind each `pipeline` of a line of code, and the options there; `info|verify` is two commands."""
    for found in COMMAND.findall(line):
        words = re.split(r"\s+#|&&|;", found)[0].split()
        group = cli_commands().get(words[0])
        options = " ".join(word for word in words if word.startswith("--"))
        if isinstance(group, TyperGroup) and len(words) > 1 and re.match(r"[a-z]", words[1]):
            for name in words[1].split("|"):
                yield f"{words[0]} {name}", options
        else:
            yield words[0], options


@functools.cache
def cli_commands() -> dict[str, TyperCommand | TyperGroup]:
    """Every command by its words, and every group by its name."""
    root = typer.main.get_command(cli.app)
    assert isinstance(root, TyperGroup)
    found = dict(root.commands)
    for name, command in root.commands.items():
        if isinstance(command, TyperGroup):
            found |= {f"{name} {inside}": each for inside, each in command.commands.items()}
    return found


def test_the_readme_is_short_and_shows_an_image_at_once() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1200
    assert re.search(r"!\[|<img ", "\n".join(text.splitlines()[:30]))


@pytest.mark.parametrize(
    ("page", "file"),
    [("README.md", "results/experiment/tables/real/table.md"), ("docs/results.md", "results/table.md")],
)
def test_a_table_of_results_has_the_numbers_of_the_run(page: str, file: str) -> None:
    """Rows name a model in backticks; columns are called as in the file."""
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / file).read_text().split("\n\n")[0].splitlines()
    ]
    known = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    shown = RESULTS.search((ROOT / page).read_text())
    assert shown
    columns, _, *lines = [[c.strip() for c in line.strip("|").split("|")] for line in shown[1].strip().splitlines()]
    assert len(lines) >= 4
    for first, *cells in lines:
        model = re.findall(r"`([^`]+)`", first)[0]
        assert [cell.strip("*") for cell in cells] == [known[model][column] for column in columns[1:]]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = without_blocks(page.read_text())
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    broken = []
    for target in targets:
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken, "\n".join(broken)


@each_page
def test_paths_exist(page: Path) -> None:
    named = {path for code in code_of(page.read_text()) for path in PATH.findall(code)}
    absent = sorted(path for path in named if not PLACEHOLDER.search(path) and not (ROOT / path).exists())
    assert not absent, "\n".join(absent)


@each_page
def test_names_are_in_the_files_that_they_are_said_to_be_in(page: Path) -> None:
    named = DEFINED.findall(page.read_text())
    absent = [f"{name} in {file}" for name, file in named if name not in names_in(ROOT / file)]
    assert not absent, "\n".join(absent)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/design.md"])
def test_identifiers_occur_in_the_code(page: str) -> None:
    """Those that cannot be plain words: with an underscore or a capital letter."""
    spans = {code for code in code_of((ROOT / page).read_text()) if re.fullmatch(r"_?[A-Za-z]\w*", code)}
    files = [file for folder in (*PACKAGES, "pose_fusion", "tests") for file in (ROOT / folder).rglob("*.py")]
    words = {word for file in files if file.name != "test_docs.py" for word in re.findall(r"\w+", file.read_text())}
    absent = sorted(each for each in spans - words if re.search("[A-Z_]", each) and not PLACEHOLDER.search(each))
    assert not absent, "\n".join(absent)


@each_page
def test_commands_exist_with_their_options(page: Path) -> None:
    wrong = []
    for code in code_of(page.read_text()):
        for name, options in commands_named(code):
            command = cli_commands().get(name)
            known = (
                {option for each in command.params for option in (*each.opts, *each.secondary_opts)} if command else ()
            )
            if command is None or set(re.findall(r"--[a-z-]+", options)) - {*known, "--help"}:
                wrong.append(f"pipeline {name} {options}".strip())
    assert not wrong, "\n".join(wrong)


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", [code for page in PAGES for code in python_blocks(page)])
def test_python_in_the_pages_runs(code: str, taught: Path) -> None:
    """In a project with stores of targets and crops, an image, a student, and an exported one."""
    exec(code, {"project": make_pages_project(taught)})


def make_pages_project(folder: Path) -> Path:
    """Give a taught project what the pages name: the teacher's stores as `coco`, the student `unified`, its crops, its files, an image."""
    shutil.copytree(folder / "data/targets/tiny", folder / "data/targets/coco")
    settings = student_params()
    settings["distill"]["images"] = "crops"
    settings["students"] = {"unified": settings["students"]["both"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    crops.run(load_project(), log=lambda line: None)
    keypoints = union((COCO17, MPII16))
    spec = {**PARAMS["teachers"]["tiny"], "skeleton": "unified", "kind": "heatmap_logits"}
    carried = {"spec": json.dumps(spec), "keypoints": json.dumps(keypoints.keypoints)}
    for name in ("holiday", "data/students/unified", "data/exported"):
        (folder / name).mkdir(parents=True)
    save_teacher(
        folder / "data/exported/unified.onnx",
        len(keypoints),
        metadata={METADATA_KEY + name: text for name, text in carried.items()},
    )
    student = Student(Pyramid(len(keypoints), 8, 1), NetworkSettings(width=8), parse_spec(spec, "spec", keypoints))
    save_student(student, folder / "data/students/unified", {})
    cv2.imwrite(str(folder / "holiday/one.jpg"), np.full((480, 640, 3), 127, np.uint8))
    return folder


def test_the_page_of_settings_has_every_section() -> None:
    rows = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    named = {name.split(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert named == set(SECTIONS)


def test_the_index_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/index.md").read_text()))
    assert linked | {"index.md"} == {page.name for page in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize(
    "text",
    [
        "`pipeline teech --teacher a`",
        "`pipeline cache info|check x`",
        "    pipeline teach --teecher a",
        "```\npipeline data fetchh coco\n```\n",
    ],
)
def test_a_wrong_command_is_found(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match="pipeline"):
        test_commands_exist_with_their_options(page)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("[a](nowhere.md)", test_links_lead_somewhere),
        ("# One two\n[a](#one-too)", test_links_lead_somewhere),
        ("`pipeline/pose/nothing.py`", test_paths_exist),
        ("`mirrorred` in `pipeline/pose/skeletons.py`", test_names_are_in_the_files_that_they_are_said_to_be_in),
    ],
)
def test_what_is_not_there_is_found(tmp_path: Path, text: str, check) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError):
        check(page)
