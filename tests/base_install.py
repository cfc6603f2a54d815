"""Runs Python as if only the base dependencies of pyproject.toml were installed: every other import fails as a missing package does."""

import functools
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.closure import ROOT

BLOCKER = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@functools.cache
def base_distributions() -> set[str]:
    """Return the names of the distributions that an installation without extras brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    pending = [Requirement(text) for text in project["dependencies"]]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            pending += map(Requirement, metadata.requires(name) or [])
    return found


@functools.cache
def blocked_modules() -> set[str]:
    """Return the importable names that only other distributions bring."""
    base = base_distributions() | {"pose-fusion", "pip", "setuptools"}
    owners = metadata.packages_distributions()
    return {name for name, those in owners.items() if not base & {canonicalize_name(each) for each in those}}


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the code in a folder."""
    whole = f"BLOCKED = {blocked_modules()!r}\n{BLOCKER}\n{code}"
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, cwd=folder, env=environment)


def run_pipeline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the `pipeline` command in a folder."""
    return run_python(f"import cli; sys.argv = {['pipeline', *arguments]!r}; cli.main()", folder)
