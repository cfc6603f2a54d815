"""Imports go one way, and the command line answers before anything heavy is loaded."""

import subprocess
import sys

import pytest

from tests.closure import ROOT, imported_modules
from tests.house import not_downwards

ALLOWED = {
    "pipeline": set(),
    "cache": {"pipeline"},
    "stages": {"pipeline", "cache"},
    "pose_fusion": {"pipeline", "cache", "stages"},
}
HEAVY = ("torch", "zarr", "dask", "onnxruntime", "cv2", "scipy", "pyarrow")


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    rooms = {*ALLOWED, "cli"}
    wrong = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file in (ROOT / room).rglob("*.py")
        for module in imported_modules(file)
        if module.split(".")[0] in rooms - ALLOWED[room] - {room}
    }
    assert wrong == set()


def test_every_import_goes_to_a_lower_floor() -> None:
    assert not_downwards() == []


@pytest.mark.parametrize("library", ["zarr", "dvc", "typer", "dask"])
def test_the_domain_knows_no_store_no_lineage_and_no_command_line(library: str) -> None:
    users = {
        file.name
        for file in (ROOT / "pipeline").rglob("*.py")
        if library in {m.split(".")[0] for m in imported_modules(file)}
    }
    assert users == set()


def test_the_domain_prints_nothing() -> None:
    assert [file.name for file in (ROOT / "pipeline").rglob("*.py") if "print(" in file.read_text()] == []


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import cli, sys; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[]"
