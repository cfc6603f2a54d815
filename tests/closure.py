"""The project's code as stages run through it: each DVC stage's file, and the packages' order."""

from pathlib import Path

from stages.training.code import PACKAGES, ROOT, code_files, imported_modules

STAGE_FILES = {
    "data": "stages/sample.py",
    "link": "stages/link.py",
    "prepare": "stages/prepare.py",
    "crops": "stages/crops.py",
    "fit": "stages/fit.py",
    "teach": "stages/teach/run.py",
    "distill": "stages/distill/run.py",
    "baseline": "stages/distill/run.py",
    "export": "stages/export/run.py",
    "evaluate": "stages/evaluate/run.py",
    "report": "stages/report/run.py",
    "train": "stages/experiment/train.py",
    "score": "stages/experiment/scoring/run.py",
    "table": "stages/experiment/tables/run.py",
}

__all__ = ["PACKAGES", "ROOT", "STAGE_FILES", "closure", "imported_modules", "package_of", "source_files"]


def closure(stage: str, root: Path = ROOT) -> list[str]:
    """The files that a DVC stage runs through."""
    return code_files(root / STAGE_FILES[stage], root)


def source_files(root: Path = ROOT) -> list[Path]:
    """All code files of the project's packages."""
    return sorted(
        f for package in (*PACKAGES, "pose_fusion") for f in (root / package).rglob("*.py") if f.stat().st_size
    )


def package_of(file: str) -> str:
    """`pipeline/pose` of `pipeline/pose/flip_averaging.py`; a module that stands alone is a package of its own."""
    parts = file.split("/")
    return "/".join(parts[:2])
