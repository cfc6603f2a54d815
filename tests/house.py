"""The packages of the project by floors, and who imports whom. `python -m tests.house` prints them."""

from collections import defaultdict
from pathlib import Path

from tests.closure import ROOT, imported_modules, package_of, source_files

FLOORS = (
    ("pipeline/common",),
    ("pipeline/media", "pipeline/pose"),
    ("pipeline/drawing.py", "pipeline/networks", "pipeline/people", "pipeline/sample"),
    ("pipeline/datasets", "pipeline/export", "pipeline/report", "pipeline/targets"),
    ("cache", "pipeline/inference", "pipeline/labelling", "pipeline/metrics", "pipeline/training"),
    ("pipeline/detection", "pipeline/teachers"),
    ("stages/project", "stages/fetch", "stages/repro", "stages/sample.py"),
    ("stages/students", "stages/link.py", "stages/prepare.py", "stages/teacher_import.py", "stages/teacher_spec.py"),
    ("stages/stores", "stages/evaluate", "stages/training", "stages/predict"),
    (
        *("stages/crops.py", "stages/distill", "stages/doctor", "stages/export", "stages/fit.py", "stages/init.py"),
        *("stages/label.py", "stages/show.py", "stages/store_info.py", "stages/store_stats.py", "stages/teach"),
    ),
    ("stages/experiment", "stages/report"),
    ("pose_fusion",),
)
"""From the lowest up: what stands on a floor imports from floors below it only."""


def arrows(root: Path = ROOT) -> dict[tuple[str, str], list[str]]:
    """By importing and imported package, the imports, as `file imports module`."""
    modules = {_module(file, root): file for file in source_files(root)}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in source_files(root):
        here = _package(file, root)
        for module in imported_modules(file) & modules.keys():
            there = _package(modules[module], root)
            if here != there:
                found[here, there].append(f"{file.relative_to(root)} imports {module}")
    return found


def not_downwards(root: Path = ROOT) -> list[str]:
    """Imports from the same floor or a higher one, and packages that stand on none."""
    floor = {package: number for number, packages in enumerate(FLOORS) for package in packages}
    homeless = sorted({_package(file, root) for file in source_files(root)} - floor.keys())
    wrong = [
        each for (here, there), each in arrows(root).items() if floor.get(here, -1) <= floor.get(there, len(FLOORS))
    ]
    return [f"{package} stands on no floor" for package in homeless] + [line for lines in wrong for line in lines]


def _module(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _package(file: Path, root: Path) -> str:
    path = file.relative_to(root).as_posix()
    room = path.split("/")[0]
    return room if room in ("cache", "pose_fusion") else package_of(path)


def main() -> None:
    """Print the floors, the highest first, and what each package imports."""
    found = arrows()
    for number, packages in reversed(list(enumerate(FLOORS))):
        print(f"floor {number}")
        for package in packages:
            below = ", ".join(sorted(there for here, there in found if here == package))
            print(f"  {package:<26} {below}")
    print(f"{sum(map(len, FLOORS))} packages, {len(found)} arrows, {len(not_downwards())} not downwards")


if __name__ == "__main__":
    main()
