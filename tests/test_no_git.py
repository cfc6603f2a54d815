"""A tree without .git, as a ZIP or a container has it: DVC is told to do without before it runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("git", "expected"), [(True, ""), (False, "config --local core.no_scm true\n")])
def test_make_repro_tells_dvc_where_there_is_no_git(tmp_path, git, expected):
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for command in ("dvc", "pipeline"):
        (tmp_path / ".venv/bin" / command).write_text('#!/bin/sh\necho "$@" >> calls\n')
        (tmp_path / ".venv/bin" / command).chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    if git:
        (tmp_path / ".git").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    subprocess.run(["make", "repro"], cwd=tmp_path, check=True, capture_output=True, env=environment)
    assert (tmp_path / "calls").read_text() == expected + "repro\n"
