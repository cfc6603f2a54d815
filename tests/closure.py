"""Which of the project's files a module runs through: imports followed statically, those inside functions included."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("pipeline", "cache", "stages")


def imported_modules(path: Path) -> set[str]:
    """Dotted names of everything a file may import, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def file_of(module: str) -> Path | None:
    """The project file of a module, None for anybody else's."""
    if module.split(".")[0] not in ROOMS:
        return None
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def closure(path: Path) -> list[str]:
    """Relative paths of `path` and all project files it runs through that hold code, sorted."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += [file for module in imported_modules(current) if (file := file_of(module))]
    return sorted(file.relative_to(ROOT).as_posix() for file in found if file.stat().st_size)
