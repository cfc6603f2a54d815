"""The table of docs/bad-input.md: every row noticed, said in one line, with what to do, and nothing changed."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from tests.faults.accepted import ACCEPTED, Accepted
from tests.faults.changes import student
from tests.faults.page import PAGE, SECTIONS, page
from tests.faults.table import Row, make
from tests.fixtures import tree

ROWS = [row for rows in SECTIONS.values() for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """The project, a copy of it that every row damages, and the digests of its files."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make(place)
        student(place)
    return place, shutil.copytree(place, tmp_path_factory.mktemp("damaged") / "project"), tree(place)


@pytest.fixture
def project(whole: tuple[Path, Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The copy, the current folder; afterwards it is as it was."""
    source, place, files = whole
    monkeypatch.chdir(place)
    yield place
    found = tree(place)
    for path in sorted(place.rglob("*"), reverse=True):
        name = path.relative_to(place)
        if path.is_symlink() or (path.is_file() and name.as_posix() not in files):
            path.unlink()
        elif path.is_dir() and not (source / name).is_dir():
            path.rmdir()
    for name, digest in files.items():
        if found.get(name) != digest or not (place / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, place / name)


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *command.split()])
    try:
        cli.main()
    except SystemExit as leaving:
        return leaving.code
    return 0


@pytest.mark.parametrize("row", ROWS, ids=[row.wrong for row in ROWS])
def test_bad_input_is_one_line_and_changes_nothing(
    row: Row, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row.change(project)
    before = tree(project)
    code = run(row.command, monkeypatch)
    *warnings, line = capsys.readouterr().err.replace(f"{project}/", "").splitlines()
    assert line == row.line
    assert code == 1
    assert all(each.startswith("warning: ") for each in warnings)
    after = tree(project)
    assert {name: after.get(name) for name in before} == before
    assert not (project / "ran").exists()


@pytest.mark.parametrize("case", ACCEPTED, ids=[case.unusual for case in ACCEPTED])
def test_unusual_input_is_read(case: Accepted, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case.change(project)
    assert run(case.command, monkeypatch) == 0


def test_the_page_has_these_rows() -> None:
    assert len(ROWS) >= 60 and len({row.wrong for row in ROWS}) == len(ROWS)
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.faults.page`"
