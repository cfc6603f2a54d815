"""The project's code that a stage runs through, files by following imports. Checkpoints and finished runs are valid for that code."""

import ast
import functools
import hashlib
from pathlib import Path

from pipeline.common.files import sha256

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipeline", "cache", "stages")


def code_digest(entry: Path) -> str:
    """Return the sha256 over the file of a stage and all project files that it runs through."""
    return hashlib.sha256("".join(sha256(ROOT / file) for file in code_files(entry)).encode()).hexdigest()


def code_files(entry: Path, root: Path = ROOT) -> list[str]:
    """Return the sorted paths, relative to the project's `root`, of a file and of all project files that it runs through.

    Imports are followed statically, those inside functions included. Empty files are left out.
    """
    files: set[Path] = set()
    pending = [entry]
    while pending:
        current = pending.pop()
        if current not in files:
            files.add(current)
            pending += [file for module in imported_modules(current) if (file := _file_of(module, root))]
    return sorted(file.relative_to(root).as_posix() for file in files if file.stat().st_size)


def imported_modules(file: Path) -> frozenset[str]:
    """Return the dotted names of all modules that a file may import; `from a import b` gives both a and a.b."""
    return _modules_in(file.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1024)
def _modules_in(source: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _file_of(module: str, root: Path) -> Path | None:
    """Return the project file of a module, or None for a module that is not the project's."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None
